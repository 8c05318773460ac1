"""A person gives images, reads the answers, teaches by keys, and takes it back."""

import base64
import re

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")
from playwright.sync_api import expect


@pytest.fixture
def images(drawn):
    """New images."""
    return sorted((drawn / "new").rglob("*.png"))[-2:]


def test_an_image_is_answered_taught_and_undone_by_keys(page, images):
    """The address names the result; nothing is left of the edit but its place in the journal."""
    page.goto("/")
    page.set_input_files("#file", images[0])
    card = page.locator("article[data-id]")
    expect(card.get_by_role("heading", level=2)).to_contain_text("It looks like")
    expect(page).to_have_url(re.compile(r"images=[0-9a-f]{64}$"))
    page.keyboard.press("1")
    expect(card.locator(".taught")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="1 example added")).to_be_visible()
    page.keyboard.press("z")
    expect(page.get_by_role("status").filter(has_text="Undone: 1 example removed")).to_be_visible()
    expect(card.locator(".taught")).to_have_count(0)
    page.reload()
    expect(card).to_have_count(1)


def test_a_key_teaches_each_image_once_and_another_undoes_each(page, images):
    """The next press is about the next image without an answer; presses that come early are not lost."""
    page.goto("/")
    page.set_input_files("#file", images)
    cards = page.locator("article[data-id]")
    expect(cards).to_have_count(2)
    for place in range(2):
        page.keyboard.press("1")
        expect(cards.locator(".taught")).to_have_count(place + 1)
    version = int(page.locator("#version").inner_text())
    page.keyboard.press("z")
    page.keyboard.press("z")
    expect(page.locator("#version")).to_have_text(str(version + 2))
    expect(cards.locator(".taught")).to_have_count(0)
    expect(page.locator("#notice")).to_contain_text("Undone: 1 example removed")
    page.get_by_role("button", name="Redo").click()
    expect(cards.locator(".taught")).to_have_count(1)
    page.get_by_role("button", name="Undo").first.click()
    expect(cards.locator(".taught")).to_have_count(0)


def test_keys_are_shown_and_fields_take_letters(page, images):
    """`?` shows them; a letter in a field is a letter."""
    page.goto("/")
    page.set_input_files("#file", images[1])
    expect(page.locator("article[data-id]")).to_have_count(1)
    page.keyboard.press("?")
    legend = page.get_by_role("dialog", name="Keys")
    expect(legend).to_contain_text("write another label")
    page.keyboard.press("Escape")
    expect(legend).to_be_hidden()
    page.keyboard.press("n")
    field = page.get_by_label("Something else")
    expect(field).to_be_focused()
    page.keyboard.type("1?z")
    expect(field).to_have_value("1?z")


def test_an_image_is_pasted_and_one_that_is_broken_is_told(page, images):
    """A dropped file that is no image is left out."""
    page.goto("/")
    page.evaluate(
        """async ([good]) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(good), (letter) => letter.charCodeAt(0));
            transfer.items.add(new File([bytes], "a.png", { type: "image/png" }));
            transfer.items.add(new File(["broken"], "b.png", { type: "image/png" }));
            transfer.items.add(new File(["text"], "c.txt", { type: "text/plain" }));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));
        }""",
        [base64.b64encode(images[0].read_bytes()).decode()],
    )
    expect(page.get_by_text("This image cannot be read")).to_be_visible()
    expect(page.locator("article[data-id]")).to_have_count(2)
    expect(page.get_by_text("1 files are no images")).to_be_visible()


def test_a_server_that_is_gone_is_told(page, images, visit):
    """And the image can be sent again."""
    page.goto("/")
    page.route("**/", lambda route: route.abort() if route.request.method == "POST" else route.continue_())
    page.set_input_files("#file", images[0])
    expect(page.get_by_text("The server does not answer.")).to_be_visible()
    page.unroute("**/")
    visit.expected("Failed to load resource")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("article[data-id]")).to_have_count(1)
