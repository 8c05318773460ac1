"""The calibration over HTTP: figures are those that `calibrate` stores, refusals are its words, jobs can be polled."""

import shutil
import threading
import time

import numpy as np
import pytest

from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.index.formats import read_index, write_calibration
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.server.background import calibrating
from tests.helpers.datasets import offline_config
from tests.helpers.live_server import PATIENCE

ADDRESS = "/v1/calibration"


def finished(client):
    """Wait until no job runs, and return the description."""
    assert client.state.calibrating.wait(PATIENCE)
    return client.get(ADDRESS).json()


def test_an_index_that_is_not_calibrated(client, made_index):
    """The figures are those of the rule that was fitted on opening; nothing can be stored."""
    values = client.get(ADDRESS).json()
    assert (values["state"], values["job"], values["guarantee"], values["choices"]) == ("missing", None, None, None)
    assert values["examples"] == read_index(made_index / "index").manifest.count
    assert values["outlook"]["target_precision"] == 0.95
    assert values["outlook"]["accepted"] is None
    assert f"It takes {values['outlook']['examples_needed']} examples without an error" in values["outlook"]["refusal"]
    assert sum(values["curves"]["familiarity"]["known"]) == values["examples"]
    answer = client.post(ADDRESS, json={"target_precision": 0.7})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/calibration-conflict")
    assert "must be calibrated first. Calibrate (by `recalibrate` in POST /v1/calibration" in answer.json()["detail"]
    assert "lmm-classifier" not in answer.text


def test_a_job_calibrates(teacher, place):
    """202 at once, then the state says how far it is; at the end answers come from the new calibration."""
    answer = teacher.post(ADDRESS, json={"recalibrate": True, "keep_known": 0.8})
    assert answer.status_code == 202
    assert answer.headers["location"] == ADDRESS
    assert answer.json()["job"]["id"] == 1
    values = finished(teacher)
    assert (values["job"]["state"], values["state"], values["request"]["keep_known"]) == ("done", "current", 0.8)
    assert values["thresholds"]["keep_known"]["source"].startswith("calibration of ")
    stored = read_index(place / "index").calibration
    assert list(stored["held_out.confidence"]) == list(teacher.state.classifier.retriever.stored.held_out.confidence)
    assert values["curves"]["unknowns"] is None or len(values["curves"]["unknowns"]["keep_known"]) > 3


@pytest.mark.parametrize("targets", [{"target_precision": 0.7}, {"target_precision": 0.75, "keep_known": 0.9}])
def test_stored_thresholds_are_those_of_calibrate(calibrated, tmp_path, targets):
    """Bit by bit; and the outlook of the same targets said so before."""
    shutil.copytree(tmp_path / "index", tmp_path / "other", ignore=shutil.ignore_patterns("*.lock"))
    before = calibrated.get(ADDRESS, params=targets).json()["outlook"]
    answer = calibrated.post(ADDRESS, json=targets)
    assert answer.status_code == 200
    calibrate_index(tmp_path / "other", offline_config(tmp_path / "other"), CalibrationRequest(**targets))
    found, expected = (read_index(tmp_path / name).calibration for name in ("index", "other"))
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    values = answer.json()
    assert values["outlook"] == before
    assert values["guarantee"]["confidence_threshold"] == before["confidence_threshold"]
    assert values["thresholds"]["confidence_threshold"]["value"] == before["confidence_threshold"]
    assert values["thresholds"]["familiarity_threshold"]["value"] == before["familiarity_threshold"]
    assert values["guarantee"]["is_certified"] == (values["warning"] is None)


def test_a_refusal_is_in_the_words_of_calibrate(calibrated, tmp_path):
    """The detail is the text of its error, and nothing is stored."""
    before = read_index(tmp_path / "index").calibration
    with pytest.raises(CalibrationError) as error:
        calibrate_index(tmp_path / "index", offline_config(tmp_path / "index"), CalibrationRequest(0.99))
    answer = calibrated.post(ADDRESS, json={"target_precision": 0.99})
    assert (answer.status_code, answer.json()["detail"]) == (422, str(error.value))
    assert calibrated.post(ADDRESS, json={"recalibrate": True, "target_precision": 0.99}).status_code == 202
    job = finished(calibrated)["job"]
    assert (job["state"], job["error"]) == ("failed", str(error.value))
    assert list(read_index(tmp_path / "index").calibration["request"]) == list(before["request"])


def test_the_choices_are_the_outlooks_of_all_targets(calibrated):
    """Sliders read them from a table; each is what a request for its targets says."""
    choices = calibrated.get(ADDRESS, params={"choices": "true", "confidence_level": 0.8}).json()["choices"]
    rates = choices["target_precision"]
    assert (rates[0], rates[-1], len(rates)) == (0.6, 0.99, 40)
    assert choices["confidence_level"] == 0.8
    seen = set()
    for row, column in [(0, 0), (0, 39), (13, 7), (20, 35), (39, 39)]:
        targets = {"target_precision": rates[row], "confidence_level": 0.8, "keep_known": rates[column]}
        outlook = calibrated.get(ADDRESS, params=targets).json()["outlook"]
        assert choices["accepted"][row][column] == outlook["accepted"]
        assert choices["unknown"][column] == outlook["unknown"]
        assert choices["refusals"][row] == outlook["refusal"]
        seen.add(outlook["refusal"] is None)
    assert seen == {True, False}


def test_the_levels_of_a_hierarchy_are_those_of_calibrate(leveled):
    """What is stored is what the outlook said; its levels and shares add up, and the choices have the same."""
    targets = {"target_precision": 0.8, "confidence_level": 0.8, "keep_known": 0.9}
    values = leveled.get(ADDRESS, params={**targets, "choices": "true"}).json()
    outlook, choices = values["outlook"], values["choices"]
    labels, coarse = outlook["levels"]
    assert coarse["answered"] > 0
    assert (labels["answered"], coarse["answered"]) == (outlook["accepted"], outlook["coarse"])
    assert sum(outlook[name] for name in ("accepted", "coarse", "ambiguous", "unknown")) == pytest.approx(1)
    row, column = (choices[name].index(targets[name]) for name in ("target_precision", "keep_known"))
    assert choices["levels"][row][column] == [[level["answered"], level["right"]] for level in outlook["levels"]]
    assert choices["thresholds"][row] == [labels["threshold"], coarse["threshold"]]
    assert choices["coarse"][row][column] == outlook["coarse"]
    stored = leveled.post(ADDRESS, json=targets).json()["thresholds"]
    assert stored["coarse_threshold_1"]["value"] == coarse["threshold"]
    hopeless = leveled.get(ADDRESS, params={"target_precision": 0.99}).json()["outlook"]
    assert (hopeless["accepted"], hopeless["coarse"]) == (None, None)
    assert "cannot be guaranteed" in hopeless["refusal"]


def test_an_edit_makes_it_stale(calibrated, tmp_path):
    """The curves stay to be seen, and thresholds are stored no more until it is calibrated again."""
    example = calibrated.get("/v1/examples").json()["examples"][0]
    removed = {"examples": [{"id": example["id"], "seen_label": example["label"]}]}
    assert calibrated.request("DELETE", "/v1/examples", json=removed).status_code == 200
    values = calibrated.get(ADDRESS).json()
    assert values["state"] == "stale"
    assert values["notes"]
    assert calibrated.post(ADDRESS, json={"target_precision": 0.7}).status_code == 409
    assert calibrated.post(ADDRESS, json={"recalibrate": True}).status_code == 202
    values = finished(calibrated)
    assert (values["state"], values["notes"]) == ("current", [])


@pytest.mark.long
def test_one_job_at_a_time_and_it_ends_with_the_server(open_client, place, monkeypatch):
    """A second one is refused; the one under way is stopped between two blocks and stores nothing."""
    started, go_on = threading.Event(), threading.Event()

    def held(path, config, request, progress):
        def report(step):
            started.set()
            assert go_on.wait(PATIENCE)
            progress(step)

        return calibrate_index(path, config, request, report)

    monkeypatch.setattr(calibrating, "calibrate_index", held)
    client = open_client(offline_config(place / "index", rerank__enabled=False))
    assert client.post(ADDRESS, json={"recalibrate": True}).status_code == 202
    assert started.wait(PATIENCE)
    for body in ({"recalibrate": True}, {"keep_known": 0.9}):
        answer = client.post(ADDRESS, json=body)
        assert (answer.status_code, answer.json()["detail"]) == (409, "A calibration is under way. Wait until it ends.")
    state = client.state
    ending = threading.Thread(target=state.calibrating.close)
    ending.start()
    while not state.calibrating.is_stopping:
        time.sleep(0.001)
    go_on.set()
    ending.join(PATIENCE)
    assert state.calibrating.job.state == "canceled"
    assert read_index(place / "index").calibration is None


def test_folders_of_the_server_are_not_told(calibrated, tmp_path):
    """An error of `calibrate` may name the index, or a folder of the former request."""
    contents = read_index(tmp_path / "index")
    request = CalibrationRequest(holdout=tmp_path / "secret folder").completed()
    write_calibration(tmp_path / "index", contents, {**contents.calibration, "request": np.array([request.to_json()])})
    assert calibrated.state.classifier.wait_for_index(PATIENCE)
    assert "holdout" not in calibrated.get(ADDRESS).json()["request"]
    assert calibrated.post(ADDRESS, json={"recalibrate": True}).status_code == 202
    job = finished(calibrated)["job"]
    assert job["state"] == "failed"
    assert "the dataset folder is missing" in job["error"]
    assert str(tmp_path) not in job["error"]


def test_what_is_refused(client, open_client, place):
    """Numbers that are no fractions, other members, and a server that only follows."""
    for name in ("target_precision", "confidence_level", "keep_known"):
        for value in ("1", "0", "nan", "x", "-0.5", "inf"):
            assert client.get(ADDRESS, params={name: value}).status_code == 400
        assert client.post(ADDRESS, json={name: 1.0}).status_code == 400
    assert client.get(ADDRESS, params={"choices": "maybe"}).status_code == 400
    assert client.post(ADDRESS, json={"holdout": "/etc"}).status_code == 400
    config = offline_config(place / "index", rerank__enabled=False)
    open_client(config)
    follower = open_client(config)
    for body in ({"recalibrate": True}, {"keep_known": 0.9}):
        assert follower.post(ADDRESS, json=body).json()["type"] == "/problems/read-only"
