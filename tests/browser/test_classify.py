"""Images are dropped, answered with evidence, taught by a key, and taken back by a key."""

import re

import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

from playwright.sync_api import expect

from tests.browser.conftest import files_below


def choose(page, files):
    page.locator("#files").set_input_files([str(file) for file in files])


def test_teach_by_keys_and_undo(server, open_page, built):
    """An image that nothing resembles is taught; then the others of its kind are known; undo takes it back."""
    page = open_page(server.url)
    expect(page.get_by_role("heading", name="Classify")).to_be_visible()
    images = files_below(built / "new/chevron")
    choose(page, images)
    cards = page.locator("article.answer")
    expect(cards).to_have_count(len(images))
    expect(cards.locator("h2")).to_have_count(len(images))
    before = page.locator("#version").inner_text()
    page.keyboard.press("n")
    page.keyboard.type("chevron")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="Taught as chevron.")).to_be_visible()
    expect(cards.nth(1).locator("[data-teach=chevron]")).to_be_visible()
    assert server.state.classifier.index.contents.labels.count("chevron") == 1
    page.keyboard.press("z")
    expect(page.get_by_role("status").filter(has_text="Undone: chevron.")).to_be_visible()
    expect(cards.locator("[data-teach=chevron]")).to_have_count(0)
    assert "chevron" not in server.state.classifier.index.contents.labels
    assert int(page.locator("#version").inner_text()) == int(before) + 2


def test_evidence_is_compared(server, open_page, built):
    """The nearest examples are shown; one opens next to the image."""
    page = open_page(server.url)
    choose(page, files_below(built / "new/stripes")[:1])
    card = page.locator("article.answer").first
    expect(card.locator("h2")).to_contain_text(re.compile("almost certainly|probably|perhaps|a guess|Nothing like it"))
    nearest = card.locator("a[data-compare]").first
    expect(nearest.locator("img")).to_be_visible()
    nearest.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_be_hidden()


@pytest.mark.long
def test_a_file_that_is_no_image(server, open_page, tmp_path):
    """The card says why it has no answer; the others have theirs."""
    bad = tmp_path / "<img src=x onerror=alert(1)>.png"
    bad.write_bytes(b"no image")
    page = open_page(server.url)
    choose(page, [bad])
    card = page.locator("article.answer")
    expect(card).to_have_count(1)
    expect(card.locator(".said")).not_to_contain_text("Waiting")
    expect(card.locator(".name")).to_have_text(bad.name)


test_a_file_that_is_no_image.expected_faults = ("422",)


def test_without_scripts(server, open_page, built):
    """A form answers on a page of its own."""
    page = open_page(server.url, java_script_enabled=False)
    page.locator("#files").set_input_files(str(files_below(built / "new/stripes")[0]))
    page.get_by_role("button", name="Classify").click()
    card = page.locator("article.answer")
    expect(card).to_have_count(1)
    expect(card.locator(".evidence img").first).to_be_visible()
