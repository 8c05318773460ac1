"""axe finds nothing to mend on any page: light, dark, and on a phone."""

import itertools

import pytest

pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")

from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import WIDTHS

PAGES = ("/", "/review", "/review/1", "/quality", "/docs", "/problems/queue-full", "/nothing")
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}


def violations(page):
    """Return what axe finds, with the places."""
    results = Axe().run(page, options=RULES).response
    return [f"{page.url} {found['id']}: {found['nodes'][0]['html'][:200]}" for found in results["violations"]]


def begin_run(server, page):
    """Let there be a run with questions."""
    if not server.state.reviews.reviewer.runs.runs():
        page.context.request.post(f"{server.url}/v1/runs", data={"root": "new"})
        server.wait_until(lambda: server.state.reviews.reviewer.runs.run(1).state == "done")


def check(open_page, server, addresses, looks):
    bad = []
    for width, scheme in looks:
        page = open_page(server.url, width, scheme, bypass_csp=True)
        begin_run(server, page)
        for address in addresses:
            page.goto(f"{server.url}{address}")
            if address == "/review/1":
                page.locator("#current[data-item]").wait_for()
            bad += violations(page)
    assert bad == []


def test_each_page_in_one_look(server, open_page):
    """The pages of a server, on a phone in the dark."""
    check(open_page, server, PAGES, [("phone", "dark")])


@pytest.mark.long
def test_each_page_in_every_look(server, open_page):
    """Three widths, light and dark."""
    check(open_page, server, PAGES, itertools.product(WIDTHS, ("light", "dark")))


for _test in (test_each_page_in_one_look, test_each_page_in_every_look):
    _test.expected_faults = ("404",)
