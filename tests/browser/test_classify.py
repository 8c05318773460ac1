"""A person gives images, reads the answers, teaches by keys, and takes it back."""

import base64
import re

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")
from playwright.sync_api import expect

from tests.browser.test_dataset import state_of
from tests.helpers.datasets import draw_dataset

DROP = """all => {
    const transfer = new DataTransfer();
    for (const [place, text] of all.entries()) {
        const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
        transfer.items.add(new File([bytes], `${place}.png`, { type: "image/png" }));
    }
    document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
}"""


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


@pytest.mark.long
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
    redo = page.get_by_role("button", name="Redo")
    assert redo.bounding_box()["height"] < 60  # its text is in one line
    redo.click()
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


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.fixture
def many(drawn, tmp_path):
    """More images than are answered at once, in a folder with folders, and other files."""
    draw_dataset(tmp_path / "many", ("chevron", "leopard", "argyle", "stripes"), count=6, seed=17)
    (tmp_path / "many" / "notes.txt").write_text("no image")
    return tmp_path / "many"


@pytest.mark.long
def test_twenty_images_are_taught_by_keys_and_all_is_undone(page, many, site):
    """Each key teaches the next image; one key takes them all back, the newest first."""
    before = state_of(site)
    page.goto("/")
    page.set_input_files("#file", sorted(many.rglob("*.png"))[:20])
    cards = page.locator("article[data-id]")
    expect(cards).to_have_count(20)
    for place in range(20):
        page.keyboard.press("12"[place % 2])
        expect(cards.locator(".taught")).to_have_count(place + 1)
    version = int(page.locator("#version").inner_text())
    for _ in range(20):
        page.keyboard.press("z")
    expect(page.locator("#version")).to_have_text(str(version + 20), timeout=60_000)
    expect(cards.locator(".taught")).to_have_count(0)
    expect(cards).to_have_count(20)
    assert state_of(site) == before


@pytest.mark.long
@pytest.mark.parametrize("way", ["chosen", "folder", "dropped"])
def test_many_images_become_a_run(page, many, site, way):
    """However they are given, they lead to their review."""
    files = sorted(many.rglob("*.png"))
    page.goto("/")
    if way == "chosen":
        page.set_input_files("#file", files)
    elif way == "folder":
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Choose a folder").click()
        chooser.value.set_files(many)
    else:
        page.evaluate(DROP, [base64.b64encode(file.read_bytes()).decode() for file in files])
    page.wait_for_url(re.compile(r"/review/\d+$"))
    number = int(page.url.rpartition("/")[2])
    expect(page.locator("#current[data-item]")).to_be_visible()
    run = site.state.reviews.reviewer.runs.run(number)
    assert run.items == len(files)
    page.goto("/review")
    card = page.locator(f'.run[data-run="{number}"]')
    card.get_by_text("Delete…").click()
    card.get_by_role("button", name="Delete").click()
    expect(card).to_have_count(0)


@pytest.mark.long
def test_an_image_is_taught_without_a_script(visit, images, site):
    """Forms lead to pages: answered, taught, relabeled and undone; what needs a script is not there."""
    before = state_of(site)
    page = visit(java_script_enabled=False)
    page.goto("/")
    expect(page.get_by_role("button", name="Choose a folder")).to_be_hidden()
    page.set_input_files("#file", images)
    page.get_by_role("button", name="Classify", exact=True).click()
    expect(page.locator("article")).to_have_count(2)
    page.goto(page.locator("article a.subject").first.get_attribute("href"))
    page.get_by_label("Something else").fill("a new one")
    page.get_by_role("button", name="Teach").click()
    expect(page.locator(".taught")).to_contain_text("a new one")
    page.locator("button[name=choice]").first.click()
    expect(page.get_by_role("status").filter(has_text="relabeled from a new one to")).to_be_visible()
    for _ in range(2):
        page.locator("#notice").get_by_role("button", name="Undo").click()
        expect(page.get_by_role("status").filter(has_text="Undone")).to_be_visible()
    assert state_of(site) == before
    page.goto("/review")
    expect(page.get_by_text("Choose images")).to_be_hidden()
    expect(page.get_by_role("button", name="Start")).to_be_visible()
