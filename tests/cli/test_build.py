"""`build` indexes a folder of labeled images and says what it skipped."""

import json

import pytest

from tests.helpers.chunked_builds import make_labeled
from tests.helpers.command_line import OFFLINE, run
from tests.helpers.datasets import draw_dataset


def test_the_report_counts_what_was_indexed(place):
    """As a table for people, and as JSON."""
    report = json.loads((place / "report.json").read_text())
    assert report["total"] == 20
    assert report["skipped"] == []


def test_the_index_to_write_is_the_output(tmp_path):
    """Other commands call it --index, so the error names the option that is meant."""
    assert "No such option: --index" in (error := run("build", "photos", "--index", "x", cwd=tmp_path, code=2).stderr)
    assert "--output" in error
    assert "--output" not in run("build", "photos", "--indx", "x", cwd=tmp_path, code=2).stderr


def test_a_bad_file_is_skipped_and_reported(tmp_path):
    """The exit code is 3, the table names the file and the encoder, and the index exists."""
    dataset = draw_dataset(tmp_path / "dataset", count=2, size=48)
    (dataset / "stripes" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    done = run("build", dataset, "--output", "folder", "--config", OFFLINE, cwd=tmp_path, code=3)
    for text in ("stripes/bad.jpg", "stripes", "weight-free descriptor", "8 images"):
        assert text in done.stderr
    assert done.stdout == ""
    assert json.loads(run("info", "folder", "--json", cwd=tmp_path).stdout)["images"] == 8
    again = run("build", dataset, "--output", "folder", "--config", OFFLINE, cwd=tmp_path, code=3)
    assert "0 encoded" in again.stderr


def test_a_build_says_who_encoded_and_what_became_stale(tmp_path):
    """Only an encoder that is new encodes; a build and a sync both say that the calibration is not used any more."""
    dataset = draw_dataset(tmp_path / "dataset", count=3, size=32)
    common = ["--config", OFFLINE, "--set"]
    center, both = "{backend: descriptor, view: center 0.5}", "encoder=[{backend: descriptor}, %s]"
    run("build", dataset, *common, "retrieval.k=3", cwd=tmp_path)
    run("calibrate", *common, "retrieval.k=3", cwd=tmp_path)
    more = run("build", dataset, *common, both % center, cwd=tmp_path).stderr
    assert "12 encoded by descriptor center 0.5 in" in " ".join(more.split())
    assert "stale: calibration: run `lmm-classifier calibrate --config" in more
    assert "it is not used, because the encoders or a transform changed" in more
    fewer = " ".join(run("build", dataset, *common, "retrieval.k=3", cwd=tmp_path).stderr.split())
    assert "12 unchanged; 0 encoded in" in fewer
    assert "stale" not in fewer  # they are those of the calibration again


def test_a_folder_that_is_no_index_is_not_overwritten(durable):
    """The error says so."""
    done = run("build", "dataset", "--output", "dataset", "--config", OFFLINE, cwd=durable, code=1)
    assert "error: " in done.stderr
    assert "dataset" in done.stderr


@pytest.mark.long
def test_a_build_by_processes_makes_a_table(tmp_path):
    """The command again encodes nothing; options of other engines are refused."""
    pytest.importorskip("lance", reason="lance is not installed")
    labeled = make_labeled(tmp_path / "labeled", count=4)
    settings = ["--set", "encoder.backend=onnx", "--set", f"encoder.model={labeled.config.encoders[0].model}"]
    command = ["build", labeled.root, "--output", "table", "--engine", "processes", "--actors", 2, *settings]
    first = run(*command, "--chunk-images", 8, "--report", "report.json", cwd=tmp_path, code=3)
    assert "stripes/cut.png" in first.stderr
    assert json.loads((tmp_path / "report.json").read_text())["total"] == 18
    assert "0 encoded" in run(*command, cwd=tmp_path, code=3).stderr
    assert "0 damaged" in run("chunks", "verify", "table", cwd=tmp_path).stdout


def test_options_of_engines_need_one(tmp_path):
    """And say which."""
    for options in (["--actors", "2"], ["--address", "auto"], ["--chunk-images", "9"]):
        assert "Add --engine ray" in run("build", "images", *options, cwd=tmp_path, code=2).stderr
    error = run("build", "images", "--engine", "processes", "--address", "auto", cwd=tmp_path, code=2).stderr
    assert "--engine ray" in error
    assert "--replace" in run("build", "images", "--engine", "ray", "--replace", cwd=tmp_path, code=2).stderr
