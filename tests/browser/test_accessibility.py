"""Every page is usable by everybody: no rule of axe is broken, and nothing is wider than a phone."""

import pytest

pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
from axe_playwright_python.sync_playwright import Axe

from lmm_classifier.server.pages.environment import segment
from tests.browser.conftest import ODD
from tests.helpers.browser import DESKTOP, PHONE

ADDRESSES = (
    "/",
    "/dataset",
    *(f"/dataset/labels/{segment(label)}" for label in ("stripes", ODD[1], ODD[3])),
    "/dataset/audit/suspects",
    "/dataset/audit/duplicates",
    "/dataset/audit/outliers",
    "/edits",
    "/review",
    "/map",
    "/quality",
    "/login",
    "/docs",
    "/problems/queue-full",
)
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def violations(page):
    """Return what is wrong with a page: the rules that it breaks, and whether it is wider than the window."""
    broken = Axe().run(page, options=RULES)
    rules = [f"{page.url}: {rule['id']}\n{broken.generate_report()}" for rule in broken.response["violations"]]
    is_wide = page.evaluate("document.documentElement.scrollWidth > innerWidth + 1")
    return [*rules, *([f"{page.url}: wider than the window"] if is_wide else [])]


def check(page):
    """Raise AssertionError where something is wrong with a page."""
    assert violations(page) == []


@pytest.fixture
def audited(site):
    """The server, whose audit has ended."""
    site.wait_until(lambda: site.state.auditing.view().state != "running")
    return site


@pytest.fixture
def reviewed(site):
    """The address of a run with questions."""
    reviewer = site.state.reviews.reviewer
    if not reviewer.runs.runs():
        site.state.reviews.create("inbox", "")
    number = reviewer.runs.runs()[0].id
    site.wait_until(lambda: reviewer.runs.run(number).state == "done")
    return f"/review/{number}"


def question(page):
    """Wait for the first question of a review."""
    page.wait_for_selector("#current[data-item]")


@pytest.fixture
def answered(drawn):
    """Show the answer to an image."""

    def show(page):
        page.goto("/")
        page.set_input_files("#file", sorted((drawn / "new").rglob("*.png"))[-1])
        page.wait_for_selector("article[data-id]")

    return show


@pytest.mark.parametrize(
    "address", ["/dataset/audit/suspects", pytest.param(f"/dataset/labels/{segment(ODD[1])}", marks=pytest.mark.long)]
)
def test_the_main_pages_on_a_phone_in_the_dark(visit, audited, address):
    """The hardest of the views; the long tests try all."""
    page = visit(viewport=PHONE, color_scheme="dark")
    page.goto(address)
    check(page)


def test_an_answer(visit, answered):
    """With its choices and neighbors."""
    page = visit(viewport=PHONE)
    answered(page)
    check(page)


@pytest.mark.long
def test_a_question_of_a_review(visit, reviewed):
    """With its candidates in reach of a thumb."""
    page = visit(viewport=PHONE, color_scheme="dark")
    page.goto(reviewed)
    question(page)
    check(page)


@pytest.mark.long
@pytest.mark.parametrize("size", [PHONE, DESKTOP, {"width": 720, "height": 450}], ids=["phone", "desktop", "zoom"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page(visit, audited, answered, reviewed, record_property, size, scheme):
    """In both color schemes, on a phone, on a desk, and at a zoom of 200%."""
    page, checked = visit(viewport=size, color_scheme=scheme), []
    for address in ADDRESSES:
        page.goto(address)
        checked.append(violations(page))
    page.goto("/map")
    page.wait_for_selector("#map-canvas[data-sight]")
    page.keyboard.press("r")
    page.keyboard.press("Enter")
    page.wait_for_selector("#map-list input")
    checked.append(violations(page))
    page.goto(reviewed)
    question(page)
    checked.append(violations(page))
    answered(page)
    checked.append(violations(page))
    page.locator(".because a").first.click()
    page.wait_for_selector(".pair")
    checked.append(violations(page))
    record_property("pages", len(checked))
    record_property("violations", sum(map(len, checked)))
    assert [said for of_page in checked for said in of_page] == []
