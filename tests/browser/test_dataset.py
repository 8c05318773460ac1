"""A person renames labels and settles findings by keys."""

import threading
from dataclasses import replace

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")
from playwright.sync_api import expect

from lmm_classifier.core.progress import Progress
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


def state_of(site):
    """All examples with their labels, as the newest version has them."""
    assert site.state.classifier.wait_for_index()
    contents = site.state.classifier.index.contents
    return sorted(zip(contents.paths, contents.labels, contents.hashes))


def test_labels_of_any_name_are_visited_and_renamed(page):
    """From the list to the label and back, and undone."""
    for label in ODD:
        page.goto(f"/dataset?sort=fewest&q={label[:3]}")
        page.locator(".labels a").filter(has_text=label).first.click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(label)
    page.get_by_label("New name").fill("renamed/x")
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


@pytest.mark.long
def test_an_audit_under_way_is_followed(page, audited, monkeypatch):
    """Only what it says of itself changes on the page."""
    view = audited.state.auditing.view
    is_done = threading.Event()
    under_way = replace(view(), state="running", audit=None, progress=Progress("looking", 1, 2))
    monkeypatch.setattr(audited.state.auditing, "view", lambda starts=True: view() if is_done.is_set() else under_way)
    page.goto("/dataset")
    with page.expect_response("**/dataset/audit/state"):
        expect(page.get_by_role("status").filter(has_text="looking, 1 of 2")).to_be_visible()
    expect(page.get_by_role("heading", name="Labels")).to_be_visible()
    is_done.set()
    expect(page.get_by_text("are predicted as their label when held out")).to_be_visible()
    expect(page.get_by_role("heading", name="Labels")).to_be_visible()


@pytest.mark.long
def test_several_examples_are_changed_by_keys_and_all_is_undone(page, site):
    """Relabeled, removed and settled; then one key goes back to the beginning."""
    before = state_of(site)
    page.goto("/dataset/labels/stripes")
    for number, key in enumerate(("n", "Delete", "n")):
        boxes = page.get_by_role("checkbox")
        count = boxes.count()
        for box in boxes.all()[:2]:
            box.check()
        expect(page.locator("#chosen")).to_have_text("2 chosen")
        page.get_by_role("heading", level=1).click()
        page.keyboard.press(key)
        if key == "n":
            expect(page.get_by_label("Give them the label")).to_be_focused()
            page.keyboard.type(f"{ODD[1]} {number}")
            page.get_by_role("button", name="Relabel").press("Enter")
        expect(boxes).to_have_count(count - 2)
    assert state_of(site) != before
    for number in range(3):
        page.keyboard.press("z")
        expect(page.get_by_role("checkbox")).to_have_count(count + 2 * number)
    assert state_of(site) == before


@pytest.mark.long
def test_a_finding_is_settled_without_a_script(visit, wrong, site):
    """And a label is renamed, several examples are removed, and all is undone with the button."""
    before = state_of(site)
    page = visit(java_script_enabled=False)
    page.goto(wrong)
    page.get_by_role("button", name="It is stripes").click()
    expect(page.get_by_role("status").filter(has_text="relabeled from gingham to stripes")).to_be_visible()
    page.goto("/dataset/labels/gingham")
    for box in page.get_by_role("checkbox").all()[:3]:
        box.check()
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("status").filter(has_text="3 examples removed")).to_be_visible()
    page.get_by_label("New name").fill("checks")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("checks")
    for _ in range(3):
        page.locator("#notice").get_by_role("button", name="Undo").click()
        expect(page.get_by_role("status").filter(has_text="Undone")).to_be_visible()
    assert state_of(site) == before


@pytest.mark.long
def test_copies_are_settled_by_keys(page, audited):
    """One is kept, and the other comes back."""
    page.goto("/dataset/audit/duplicates")
    expect(page.get_by_role("button", name="Keep only this")).to_have_count(2)
    page.keyboard.press("2")
    expect(page.get_by_text("Nothing is left to decide")).to_be_visible()
    page.keyboard.press("z")
    expect(page.get_by_role("button", name="Keep only this")).to_have_count(2)


@pytest.mark.long
def test_a_server_that_is_gone_changes_nothing(page, wrong, visit):
    """The person stays where she is, and is told."""
    page.goto(wrong)
    page.route("**/dataset/audit/*", lambda route: route.abort())
    visit.expected("Failed to load resource")
    page.keyboard.press("1")
    expect(page.get_by_text("The server does not answer.")).to_be_visible()
    expect(page.get_by_text("gingham/wrong.png")).to_be_visible()
