"""`build` indexes a folder of labeled images and says what it skipped."""

import json

from tests.helpers.command_line import OFFLINE, run
from tests.helpers.datasets import draw_dataset


def test_the_report_counts_what_was_indexed(place):
    """As a table for people, and as JSON."""
    report = json.loads((place / "report.json").read_text())
    assert report["total"] == 20
    assert report["skipped"] == []


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


def test_a_folder_that_is_no_index_is_not_overwritten(durable):
    """The error says so."""
    done = run("build", "dataset", "--output", "dataset", "--config", OFFLINE, cwd=durable, code=1)
    assert "error: " in done.stderr
    assert "dataset" in done.stderr
