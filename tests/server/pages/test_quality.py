"""The Quality page without a browser: figures, forms without scripts, refusals, and what only readers see."""

import re

import pytest

from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.index.formats import read_index
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.server.pages.quality import sentence, tenths, whole
from tests.helpers.datasets import offline_config
from tests.html.html_page import HtmlPage

PAGE = {"accept": "text/html"}


def page_of(answer, status=200):
    """Return a page; no style or script may be inside of it."""
    assert answer.status_code == status, answer.text
    text = answer.text
    assert " style=" not in text
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert "<style" not in text
    return HtmlPage(
        re.sub(r"<(input|img|progress)\b([^>]*?)/?>", r"<meta data-tag=\1\2>", text).replace("</progress>", "")
    )


def post(client, **form):
    return client.post("/quality", data=form, headers=PAGE, follow_redirects=False)


def test_an_index_that_is_not_calibrated(client):
    """The page says so, offers to calibrate, and shows the refusal with the examples that it takes."""
    page = page_of(client.get("/quality", headers=PAGE))
    assert "This index is not calibrated" in page.text
    assert "It takes 59 examples without an error" in page.text
    assert len(page.all("svg", role="img")) == 3
    assert page.text.count("As a table") == 3
    actions = [tag["value"] for name, tag in page.tags if tag.get("name") == "action"]
    assert actions == ["calibrate", "calibrate"]


@pytest.mark.parametrize("name", ["target_precision", "keep_known", "confidence_level"])
@pytest.mark.parametrize("value", ["2", "x", "-1", "<b>"])
def test_an_impossible_target_is_refused(client, name, value):
    """By a page that names it."""
    page = page_of(client.get("/quality", params={name: value}, headers=PAGE), 400)
    assert f"{name}: expected a number between 0.001 and 1" in page.text
    assert f"{name}: expected" in page_of(post(client, action="store", **{name: value}), 400).text


def test_targets_are_stored_without_scripts(calibrated, tmp_path):
    """The page shows what they give, the form stores them, and the next page says what is guaranteed."""
    shown = page_of(calibrated.get("/quality?target_precision=0.8&keep_known=0.9&confidence_level=0.8", headers=PAGE))
    (words,) = re.findall(
        r"accepts \d+%, asks \d+%, unknown \d+%; at most 20% wrong with a confidence of 80%", shown.text
    )
    targets = {"target_precision": "0.8", "keep_known": "0.9", "confidence_level": "0.8"}
    answer = post(calibrated, action="store", **targets)
    assert answer.status_code == 303
    page = page_of(calibrated.get(answer.headers["location"], headers=PAGE))
    assert "The thresholds are stored" in page.text
    assert words in page.text
    assert re.search("At least 80% of the accepted answers are right, with a confidence of 80%|no guarantee", page.text)
    calibrate_index(tmp_path / "index", offline_config(tmp_path / "index"), CalibrationRequest(0.8, 0.8, 0.9))
    threshold = read_index(tmp_path / "index").calibration["confidence_threshold"][0]
    assert f"{threshold:.4f}" in page.text


def test_a_refusal_is_shown_with_the_targets(calibrated, tmp_path):
    """In the words of `calibrate`; the sliders stay where they were put."""
    with pytest.raises(CalibrationError) as error:
        calibrate_index(tmp_path / "index", offline_config(tmp_path / "index"), CalibrationRequest(0.99))
    page = page_of(post(calibrated, action="store", target_precision="0.99"), 422)
    assert str(error.value) in page.text
    (slider,) = [tag for _, tag in page.tags if tag.get("name") == "target_precision"]
    assert slider["value"] == "0.99"


@pytest.mark.long
def test_a_stale_calibration_is_made_again(calibrated):
    """The banner and the button of the form calibrate; the page shows how far it is, and in the end the new state."""
    example = calibrated.get("/v1/examples").json()["examples"][0]
    removed = {"examples": [{"id": example["id"], "seen_label": example["label"]}]}
    assert calibrated.request("DELETE", "/v1/examples", json=removed).status_code == 200
    page = page_of(calibrated.get("/quality", headers=PAGE))
    assert "is older than the examples" in page.text
    assert "must be calibrated first" in page_of(post(calibrated, action="store", keep_known="0.9"), 409).text
    answer = post(calibrated, action="calibrate", keep_known="0.9")
    assert (answer.status_code, answer.headers["location"]) == (303, "/quality?notice=started")
    calibrated.state.calibrating.wait()
    page = page_of(calibrated.get(answer.headers["location"], headers=PAGE))
    assert "is older than the examples" not in page.text
    assert "0.9000" in page.text  # keep_known


def test_what_only_readers_see(open_client, config):
    """No form that they may not send."""
    tokens = {"t" * 32: "teach", "r" * 32: "read"}
    client = open_client(config, tokens=tokens)
    page = page_of(client.get("/quality", headers={**PAGE, "Authorization": f"Bearer {'r' * 32}"}))
    assert "method" not in str([tag for name, tag in page.tags if name == "form" and tag.get("method") == "post"])
    assert not [tag for _, tag in page.tags if tag.get("name") == "action"]


def test_a_form_that_is_none(client):
    """A page of another kind of body, and one too large."""
    assert client.post("/quality", json={}, headers=PAGE).status_code == 415
    assert client.post("/quality", data={"x": "y" * 20_000}, headers=PAGE).status_code == 413
    broken = {**PAGE, "content-type": "application/x-www-form-urlencoded"}
    assert client.post("/quality", content=b"\xff\xfe=1", headers=broken).status_code == 400


def test_halves_are_rounded_as_in_the_browser():
    """`Math.round` rounds them up."""
    assert [whole(value) for value in (0.125, 0.135, 0.0049, 1.0)] == [13, 14, 0, 100]
    assert [tenths(value) for value in (0.9625, 0.0, 1.0)] == ["96.3%", "0.0%", "100.0%"]
    outlook = {"refusal": None, "accepted": 0.745, "coarse": 0.0, "ambiguous": 0.185, "unknown": 0.07, "levels": []}
    targets = {"target_precision": 0.95, "confidence_level": 0.9}
    assert sentence({**outlook, **targets}) == (
        "accepts 75%, asks 18%, unknown 7%; at most 5% wrong with a confidence of 90%"
    )
    assert sentence({**outlook, **targets, "coarse": 0.1, "levels": [{}, {}]}) == (
        "accepts 75%, 10% more by a coarse label, asks 8%, unknown 7%; at most 5% wrong with a confidence of 90%"
    )


def test_a_hierarchy_has_its_levels(leveled):
    """What each level answers, and how often that is right, as the address of the calibration says."""
    page = page_of(leveled.get("/quality?target_precision=0.8&confidence_level=0.8", headers=PAGE))
    targets = {"target_precision": 0.8, "confidence_level": 0.8}
    outlook = leveled.get("/v1/calibration", params=targets).json()["outlook"]
    assert [level["level"] for level in outlook["levels"]] == [0, 1]
    for level in outlook["levels"]:
        assert tenths(level["answered"]) in page.text
    assert "0 (labels)" in page.text
    assert "some level" in page.text
    assert f"{whole(outlook['coarse'])}% more by a coarse label" in page.text
    assert "more by a coarse label" not in leveled.get("/quality?target_precision=0.99", headers=PAGE).text
