"""A person renames labels and settles findings by keys."""

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")
from playwright.sync_api import expect

from tests.browser.conftest import ODD


@pytest.fixture
def audited(site):
    """The server, whose audit has ended."""
    site.wait_until(lambda: site.state.auditing.view().state != "running")
    return site


@pytest.fixture
def wrong(audited):
    """The address of the finding about the image with the wrong label."""
    issues = audited.state.auditing.view().findings["label"]
    return f"/dataset/audit/suspects?at={[issue.path for issue in issues].index('gingham/wrong.png')}"


def test_labels_of_any_name_are_visited_and_renamed(page):
    """From the list to the label and back, and undone."""
    for label in ODD:
        page.goto(f"/dataset?sort=fewest&q={label[:3]}")
        page.locator(".labels a").filter(has_text=label).first.click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(label)
    page.get_by_label("New name").fill("renamed/x\u200c")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("renamed/")
    page.keyboard.press("z")
    expect(page.get_by_role("status").filter(has_text="Undone")).to_be_visible()


def test_findings_are_settled_by_keys(page, wrong):
    """Each key is one edit; the focus is on the next finding; all is undone."""
    page.goto(wrong)
    place = page.locator("#place")
    first = place.inner_text()
    expect(page.locator(".finding")).to_be_focused()
    expect(page.get_by_text("gingham/wrong.png")).to_be_visible()
    for key, text in (("1", "relabeled from gingham to stripes"), ("2", "called right"), ("3", "1 example removed")):
        page.keyboard.press(key)
        expect(page.get_by_role("status").filter(has_text=text)).to_be_visible()
        expect(page.get_by_text("gingham/wrong.png")).to_have_count(0)
        page.keyboard.press("z")
        expect(page.get_by_role("status").filter(has_text="Undone")).to_be_visible()
        expect(place).to_have_text(first)
    expect(page.locator(".finding")).to_be_focused()


def test_copies_are_settled_by_keys(page, audited):
    """One is kept, and the other comes back."""
    page.goto("/dataset/audit/duplicates")
    expect(page.get_by_role("button", name="Keep only this")).to_have_count(2)
    page.keyboard.press("2")
    expect(page.get_by_text("Nothing is left to decide")).to_be_visible()
    page.keyboard.press("z")
    expect(page.get_by_role("button", name="Keep only this")).to_have_count(2)


def test_a_server_that_is_gone_changes_nothing(page, wrong, visit):
    """The person stays where she is, and is told."""
    page.goto(wrong)
    page.route("**/dataset/audit/*", lambda route: route.abort())
    visit.expected("Failed to load resource")
    visit.expected("htmx:")
    page.keyboard.press("1")
    expect(page.get_by_text("The server does not answer.")).to_be_visible()
    expect(page.get_by_text("gingham/wrong.png")).to_be_visible()
