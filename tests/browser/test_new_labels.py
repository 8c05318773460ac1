"""What the pages say of new labels, of images that change, and of coarse labels."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.discovery.suggestions.suggest import suggest
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.server.reviewing.values import SHOWN_ITEMS
from tests.helpers.browser import Visit
from tests.helpers.datasets import offline_config
from tests.helpers.encoders import ColorEncoder, draw_color, draw_sides
from tests.helpers.live_server import LiveServer
from tests.helpers.server_process import got

YELLOW = (170, 170, 0)  # a label that the index does not have
EACH = 14  # more than are sent whole


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A calibrated index of four labels, two of them below `blue`, and folders of images, some of a new label."""
    root = tmp_path_factory.mktemp("new_labels")
    draw_sides(root / "dataset", count=20)
    (root / "tree.yaml").write_text("blue: [blue_left, blue_right]\n")
    config = offline_config(root / "index", rerank__enabled=False, hierarchy=root / "tree.yaml")
    build_index_from_directory(root / "dataset", root / "index", config=config, encoder=ColorEncoder())
    calibrate_index(root / "index", config, CalibrationRequest(0.8, 0.8))
    draw_sides(root / "inbox" / "new", count=2, seed=3)
    (root / "inbox" / "new" / "yellow").mkdir()
    for place in range(EACH):
        draw_color(root / "inbox" / "new" / "yellow" / f"{place:02}.png", YELLOW, place)
    draw_sides(root / "inbox" / "known", count=6, seed=7)
    return root


@pytest.fixture
def server(made, tmp_path):
    """A server on an index of the test's own."""
    index = shutil.copytree(made / "index", tmp_path / "index", ignore=shutil.ignore_patterns("*.lock"))
    config = offline_config(index, rerank__enabled=False, images__threads=2, hierarchy=made / "tree.yaml")
    config.server.roots = {"inbox": made / "inbox"}
    with LiveServer(config, ColorEncoder()) as running:
        yield running


@pytest.fixture
def page(browser, server):
    """A window that saw no fault."""
    visit = Visit(browser, server.url)
    yield visit.page
    visit.close()
    assert visit.faults == []


def start(page, server, folder):
    """Classify a folder of the server, and return the run."""
    number = page.request.post(f"{server.url}/v1/runs", data={"root": "inbox", "folder": folder}).json()["id"]
    server.wait_until(lambda: got(server, f"/v1/runs/{number}")["state"] == "done")
    return number


def are_drawn(images):
    """Wait until images are loaded."""
    for image in images.all():
        expect(image).to_have_js_property("complete", value=True)
        assert image.evaluate("image => image.naturalWidth") > 0


def test_a_proposed_label_is_one_question_and_one_key_names_it(page, server):
    """The page shows what the group resembles and its images; the drift alarm names the images that are evidence."""
    page.goto(f"/review/{start(page, server, 'new')}")
    expect(page.locator("#headline")).to_have_text(re.compile(r"^A new label\? Or a look of \w+\?$"))
    expect(page.locator("#strip li")).to_have_count(SHOWN_ITEMS)
    proposal = page.locator("#groups button", has_text="New label?")
    expect(proposal).to_contain_text("like ")
    expect(proposal.locator(".size")).to_have_text(str(EACH))
    alarm = page.locator("#drift details")
    alarm.locator("summary").click()
    expect(alarm).to_contain_text("They are less familiar than held-out examples.")
    expect(alarm.locator("li").first).to_contain_text("yellow/")
    are_drawn(alarm.locator("img"))
    page.keyboard.press("Shift+Enter")
    expect(page.locator("#labeling-title")).to_have_text(f"All {EACH} images are…")
    page.keyboard.type("lemon")
    page.keyboard.press("Enter")
    expect(page.locator("#review")).to_have_attribute("data-unsaved", "0")
    expect(proposal).to_have_count(0)
    assert got(server, "/v1/review/answers?run=1")["answers"][0]["size"] == EACH


@pytest.mark.long
def test_an_image_that_is_set_apart_is_no_proposal(page, server):
    """Nobody asks whether one image is a new label, neither at once nor after the page is loaded again."""
    page.goto(f"/review/{start(page, server, 'new')}")
    name = page.locator("#name").inner_text()
    page.keyboard.press("x")
    apart = page.locator("#groups button", has_text="Nothing like it")
    expect(apart).to_have_count(1)
    expect(page.locator("#review")).to_have_attribute("data-unsaved", "0")
    page.reload()
    apart.click()
    expect(page.locator("#name")).to_have_text(name)
    expect(page.locator("#headline")).to_have_text("Nothing like it in this dataset")
    expect(page.locator("#groups button", has_text="New label?").locator(".size")).to_have_text(str(EACH - 1))


@pytest.mark.long
def test_the_order_is_that_of_suggestions(page, server, made):
    """The first question is about the image that `suggest` names first; groups have the order of the address."""
    run = start(page, server, "new")
    page.goto(f"/review/{run}")
    expect(page.locator("#current[data-item]")).to_be_visible()
    groups = got(server, f"/v1/review?run={run}&limit=20")["groups"]
    shown = [int(button.get_attribute("data-first")) for button in page.locator("#groups button").all()]
    assert shown == [group["items"][0]["id"] for group in groups][: len(shown)]
    first = suggest(made / "inbox" / "new", server.state.classifier).suggestions[0]
    assert page.locator("#name").inner_text() == str(first.path).removeprefix(f"{made}/inbox/new/")


@pytest.mark.long
def test_an_alarm_comes_while_images_are_classified(page, server):
    """The page does not have to be loaded again; the list of runs has it too, and a run without a change says so."""
    run = page.request.post(f"{server.url}/v1/runs", data={}).json()["id"]
    page.goto(f"/review/{run}")
    expect(page.locator("#drift details")).to_have_count(0)
    pixels = [np.random.default_rng(n).integers(120, 255, (16, 16, 3), np.uint8) for n in range(40)]
    for number, image in enumerate(pixels):
        file = server.state.config.retrieval.index_path.parent / f"{number}.png"
        Image.fromarray(image).save(file)
        content = {"name": file.name, "mimeType": "image/png", "buffer": file.read_bytes()}
        page.request.post(f"{server.url}/v1/runs/{run}/images", multipart={"image": content})
    alarm = page.locator("#drift details")
    expect(alarm).to_have_count(1)
    start(page, server, "known")
    page.goto("/review")
    expect(page.locator(".run", has_text="No change found in 24 images")).to_have_count(1)
    listed = page.locator(".run .drift")
    expect(listed).to_have_count(1)
    listed.locator("summary").click()
    are_drawn(listed.locator("img"))


@pytest.mark.long
@pytest.mark.parametrize("address", ["/review", "/"])
def test_a_folder_sorted_by_label_is_sent_in_another_order(page, server, made, address):
    """So that the first images are not all of one label, which would look like a change."""
    page.goto(address)
    if address == "/":
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Choose a folder").click()
        chooser.value.set_files(made / "inbox" / "known")
    else:
        page.locator("#folder").set_input_files(made / "inbox" / "known")
    page.wait_for_url("**/review/1")
    server.wait_until(lambda: got(server, "/v1/runs/1")["items"] == 24)
    drift = server.state.reviews.reviewer.drift.store
    labels = [image.name.split("/")[-2] for image in drift.images(1)]
    for place in range(0, len(labels), 8):  # each request has 8 images, and they come in any order
        assert len(set(labels[place : place + 8])) > 1
    assert not drift.report(1)["is_alarm"]


@pytest.mark.long
def test_a_coarse_label_is_an_answer(page, server, made):
    """Classify says that it is one, and what is above a label; the Quality page has the levels of all targets."""
    blue = sorted((made / "inbox" / "known").glob("blue_*/*.png"))
    page.goto("/")
    page.set_input_files("#file", [*blue[:3], made / "inbox/known/green/00.png"])
    expect(page.locator("article[data-id]")).to_have_count(4)
    coarse = page.locator("article", has_text="No label is sure enough, so this is a coarse one")
    expect(coarse.first.get_by_role("heading", level=2)).to_contain_text("blue")
    for card in coarse.all():
        assert {"blue_left", "blue_right"} <= set(card.locator("button[name=choice] bdi").all_inner_texts())
    page.goto("/quality")
    rows = page.locator("#levels tbody tr")
    expect(rows).to_have_count(3)
    for precision in ("0.8", "0.7", "0.99", "0.85"):
        page.get_by_label("Target precision").fill(precision)
        expect(page.locator("#target_precision-value")).to_have_text(f"{100 * float(precision):.0f}%")
        keep, level = (page.locator(f"#{name}").input_value() for name in ("keep_known", "confidence_level"))
        targets = f"target_precision={precision}&keep_known={keep}&confidence_level={level}"
        plain = page.request.get(f"{server.url}/quality?{targets}").text()
        words = re.search(r'id="sentence"[^>]*>([^<]+)<', plain)[1]
        expect(page.locator("#sentence")).to_have_text(words)
        if "cannot be guaranteed" in words:
            expect(page.locator("#levels")).to_be_hidden()
            continue
        table = re.search(r'aria-describedby="levels-title".*?</table>', plain, re.DOTALL)[0]
        assert page.locator("#levels td").all_inner_texts() == re.findall(r"<td>([^<]*)</td>", table)
