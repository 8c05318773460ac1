"""A person looks at the map, chooses examples by keys, pointer and touch, and changes them."""

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")
from playwright.sync_api import expect

from tests.helpers.browser import PHONE

DRAWN = "#map-canvas[data-sight]"


@pytest.fixture
def at_map(visit, site):
    """Return a function that opens the map in a window, once it is drawn."""
    site.wait_until(lambda: (view := site.state.mapping.view()) is not None and view.is_current)

    def opened(address="/map", **options):
        page = visit(**options)
        page.goto(address)
        page.wait_for_selector(DRAWN)
        return page

    return opened


def chosen_by_rectangle(page, smaller=0):
    """Choose what is in the middle, by keys alone; return how many examples that are."""
    page.keyboard.press("r")
    expect(page.locator("#map-canvas")).to_be_focused()
    for _ in range(smaller):
        page.keyboard.press("Shift+ArrowLeft")
        page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Enter")
    heading = page.locator("#map-chosen")
    expect(heading).to_be_focused()
    return int(heading.inner_text().split()[0])


@pytest.mark.long
def test_examples_are_chosen_and_relabeled_by_keys(at_map, site):
    """In one edit, and undone; the list has each of them, and one can be left out."""
    page = at_map()
    count = chosen_by_rectangle(page)
    boxes = page.locator("#map-list input")
    expect(boxes).to_have_count(count)
    boxes.last.uncheck()
    expect(page.locator("#map-chosen")).to_have_text(f"{count - 1} chosen")
    before = dict(zip(site.state.ids.contents.paths, site.state.ids.contents.labels))
    page.keyboard.press("n")
    page.keyboard.type("<b>new/label</b>")
    page.keyboard.press("Enter")
    expect(page.locator("#notice")).to_contain_text(f"{count - 1} relabeled")
    expect(page.locator("#map-legend bdi").filter(has_text="<b>new/label</b>")).to_have_count(1)
    expect(page.locator("#map-canvas")).to_be_focused()
    assert [*site.state.ids.contents.labels].count("<b>new/label</b>") == count - 1
    page.keyboard.press("z")
    expect(page.locator("#notice")).to_have_text("Undone.")
    expect(page.locator("#map-legend bdi").filter(has_text="<b>new/label</b>")).to_have_count(0)
    assert dict(zip(site.state.ids.contents.paths, site.state.ids.contents.labels)) == before


@pytest.mark.long
def test_a_lasso_and_a_click_choose(at_map):
    """Dragging moves the view, with Shift it chooses; a click adds one; X chooses none."""
    page = at_map()
    box = page.locator("#map-canvas").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 60, middle[1] + 20, steps=3)
    page.mouse.up()
    expect(page.locator("#map-choice")).to_be_hidden()
    page.wait_for_url("**/map?x=*")
    page.click("#map-fit")
    page.click("#map-lasso")
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    spots = [(middle[0] + 0.48 * box["width"] * x, middle[1] + 0.48 * box["height"] * y) for x, y in corners]
    page.mouse.move(*spots[0])
    page.mouse.down()
    for spot in spots[1:]:
        page.mouse.move(*spot, steps=5)
    page.mouse.up()
    whole = page.locator("#map-legend .quiet").all_inner_texts()
    expect(page.locator("#map-chosen")).to_have_text(f"{sum(int(count.replace(',', '')) for count in whole)} chosen")
    expect(page.locator("#map-lasso")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("x")
    expect(page.locator("#map-choice")).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page.locator("#map-chosen")).to_have_text("1 chosen")


@pytest.mark.long
def test_the_view_has_an_address(at_map):
    """Zoom, middle, color and label are those of the address, and a label that is none is ignored."""
    page = at_map()
    page.locator("#map-legend button").first.click()
    label = page.locator("#map-label").input_value()
    page.select_option("#map-color", "uncertainty")
    for key in ("+", "+", "ArrowLeft"):
        page.locator("#map-canvas").press(key)
    page.wait_for_url("**color=uncertainty**")
    page.wait_for_url("**zoom=2.25**")
    address = page.url
    seen = page.locator("#map-canvas").get_attribute("data-sight")
    page.goto("/")
    page.goto(address)
    page.wait_for_selector(DRAWN)
    expect(page.locator("#map-label")).to_have_value(label)
    expect(page.locator("#map-color")).to_have_value("uncertainty")
    expect(page.locator("#map-canvas")).to_have_attribute("data-sight", seen)
    page.goto("/map?zoom=no&x=Infinity&label=nothing&color=%22")
    page.wait_for_selector(DRAWN)
    expect(page.locator("#map-color")).to_have_value("label")


@pytest.mark.long
def test_a_conflict_is_told_and_nothing_changes(at_map, site, visit):
    """Somebody else relabeled one of the chosen examples meanwhile."""
    page = at_map()
    count = chosen_by_rectangle(page)
    seen = page.evaluate("[...document.querySelectorAll('#map-list .visually-hidden')].map((one) => one.textContent)")
    path = seen[0].removeprefix(", ")
    editor = site.state.classifier.editor()
    former = dict(zip(site.state.ids.contents.paths, site.state.ids.contents.labels))
    editor.relabel([path], "meanwhile")
    site.wait_until(lambda: site.state.classifier.index_lag == 0 and "meanwhile" in site.state.ids.contents.labels)
    visit.expected("409")
    page.locator("#map-remove").click()
    expect(page.locator("#notice")).to_contain_text("Nothing was changed")
    expect(page.locator("#map-chosen")).to_have_text(f"{count} chosen")
    expect(page.locator("#map-list bdi").filter(has_text="meanwhile")).to_have_count(1)
    editor.undo()
    site.wait_until(lambda: dict(zip(site.state.ids.contents.paths, site.state.ids.contents.labels)) == former)


@pytest.mark.long
def test_a_finger_pans_and_two_zoom(at_map):
    """On a phone a first touch shows an example, and a second one chooses it."""
    page = at_map(viewport=PHONE, has_touch=True)
    page.evaluate(
        """() => {
          const canvas = document.getElementById('map-canvas');
          const box = canvas.getBoundingClientRect();
          const send = (kind, id, x, y) => canvas.dispatchEvent(new PointerEvent(kind, {
            pointerId: id, pointerType: 'touch', button: 0, isPrimary: id === 1, bubbles: true,
            clientX: box.x + x, clientY: box.y + y}));
          canvas.setPointerCapture = () => {};
          send('pointerdown', 1, 150, 150);
          send('pointerdown', 2, 170, 150);
          for (let step = 1; step <= 10; step += 1) send('pointermove', 2, 170 + 10 * step, 150);
          send('pointerup', 2, 270, 150);
          send('pointerup', 1, 150, 150);
        }"""
    )
    page.wait_for_url("**/map?x=*zoom=6.00*")
    expect(page.locator("#map-choice")).to_be_hidden()
    page.click("#map-fit")
    page.locator("#map-canvas").press("ArrowLeft")
    page.wait_for_selector("#map-near:visible")


@pytest.mark.long
def test_open_images_of_a_run_are_rings_that_lead_to_its_review(at_map, site):
    """The card shows the image; the address keeps the choice."""
    reviews = site.state.reviews
    run = reviews.create("inbox", "").id
    site.wait_until(lambda: reviews.run_values(reviews.reviewer.runs.run(run))["state"] == "done")
    count = reviews.reviewer.runs.run(run).open
    page = at_map()
    page.get_by_label("Open images of").select_option(str(run))
    canvas = page.locator("#map-canvas")
    expect(canvas).to_have_attribute("data-rings", str(count))
    expect(page.locator("#map-run-said")).to_contain_text(f"{count} open image")
    expect(page.get_by_role("link", name="Review them")).to_have_attribute("href", f"/review/{run}")
    page.wait_for_url(f"**run={run}")
    page.reload()
    expect(canvas).to_have_attribute("data-rings", str(count))
    placed = page.request.get(f"/v1/map/items?run={run}").json()["items"]
    box = canvas.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.goto(f"/map?x={placed[0]['x']}&y={placed[0]['y']}&zoom=400&run={run}")
    expect(canvas).to_have_attribute("data-rings", str(count))
    page.mouse.move(*middle)
    expect(page.locator("#map-near")).to_contain_text(placed[0]["name"])
    page.mouse.click(*middle)
    page.wait_for_url(f"**/review/{run}")
    expect(page.locator("#current[data-item]")).to_be_visible()
    page.goto("about:blank")
    reviews.delete(run)
