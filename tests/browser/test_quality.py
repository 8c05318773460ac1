"""A person moves the sliders, reads the price at once, stores it, and calibrates again; also without scripts."""

import re
import shutil

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")
from playwright.sync_api import expect

from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.index.formats import read_index
from lmm_classifier.pipeline.calibrator import calibrate_index
from tests.helpers.browser import PHONE, Visit
from tests.helpers.datasets import offline_config
from tests.helpers.live_server import PATIENCE, LiveServer


@pytest.fixture(scope="module")
def calibrated(drawn, tmp_path_factory):
    """A server on a calibrated copy of the index."""
    path = tmp_path_factory.mktemp("quality") / "index"
    shutil.copytree(drawn / "index", path, ignore=shutil.ignore_patterns("*.lock"))
    config = offline_config(path, rerank__enabled=False)
    calibrate_index(path, config, CalibrationRequest(keep_known=0.9))
    with LiveServer(config) as server:
        yield server


@pytest.fixture
def window(browser, calibrated):
    """Return a function that opens the page; no window may have seen a fault."""
    visits = []

    def opened(address="/quality", **options):
        visits.append(Visit(browser, calibrated.url, **options))
        visits[-1].page.goto(address)
        return visits[-1].page

    yield opened
    for visit in visits:
        visit.close()
    assert [fault for visit in visits for fault in visit.faults] == []


def moved(page, name, value):
    """Move a slider as a hand does."""
    page.get_by_label(name).fill(str(value))


def test_the_sliders_say_at_once_what_the_server_says(window):
    """The sentence for each pair of targets is that of the page that the server draws for them."""
    page, plain = window(), window(java_script_enabled=False)
    seen = set()
    for precision, keep in ((0.6, 0.9), (0.99, 0.9), (0.7, 0.6)):
        moved(page, "Target precision", precision)
        moved(page, "Keep known", keep)
        plain.goto(f"/quality?target_precision={precision}&keep_known={keep}")
        words = plain.locator("#sentence").text_content()
        expect(page.locator("#sentence")).to_have_text(words)
        seen.add(words.startswith("accepts"))
        share = plain.locator("#share-accepts").get_attribute("width")
        if words.startswith("accepts"):
            expect(page.locator("#share-accepts")).to_have_attribute("width", share)
    assert seen == {True, False}


@pytest.mark.long
def test_it_is_stored_without_a_script(window, calibrated):
    """The keyboard moves a slider, the form is sent, and the index has the thresholds."""
    page = window("/quality?target_precision=0.6&keep_known=0.8", java_script_enabled=False, viewport=PHONE)
    page.get_by_label("Keep known").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Store").click()
    expect(page.get_by_role("status").filter(has_text="The thresholds are stored")).to_be_visible()
    expect(page.get_by_role("row", name="keep_known")).to_contain_text("0.8100")
    stored = read_index(calibrated.state.config.retrieval.index_path).calibration
    assert CalibrationRequest.from_json(str(stored["request"][0])).keep_known == 0.81


@pytest.mark.long
def test_a_stale_index_is_calibrated_again(window, calibrated):
    """The banner goes when the job has ended."""
    editor = calibrated.state.classifier.editor()
    path = read_index(calibrated.state.config.retrieval.index_path).paths[0]
    editor.remove([path])
    assert calibrated.state.classifier.wait_for_index(PATIENCE)
    page = window()
    expect(page.get_by_role("heading", name=re.compile("older than the examples"))).to_be_visible()
    page.get_by_role("button", name="Calibrate again").click()
    expect(page.get_by_role("button", name="Store")).to_be_visible(timeout=30_000)
    expect(page.get_by_role("heading", name=re.compile("older than the examples"))).to_have_count(0)


@pytest.mark.long
def test_the_server_goes(browser, drawn, tmp_path):
    """The page says that its figures are not those of the sliders."""
    shutil.copytree(drawn / "index", tmp_path / "index", ignore=shutil.ignore_patterns("*.lock"))
    with LiveServer(offline_config(tmp_path / "index", rerank__enabled=False)) as server:
        visit = Visit(browser, server.url)
        visit.page.goto("/quality")
    moved(visit.page, "Keep known", 0.7)
    expect(visit.page.locator("#sentence")).to_contain_text("The server does not answer")
    visit.close()
