"""`suggest` names images to label next, in three formats, with and without an index."""

import csv
import io
import json
import shutil

import pytest

from tests.helpers.command_line import OFFLINE, run


@pytest.mark.long
def test_formats_tell_the_same(place, tmp_path):
    """Table, JSON lines and CSV; each image once, with a reason."""

    def suggest(*arguments, code=0):
        return run(
            "suggest", "new", "other", "--index", "index.npz", "--config", OFFLINE, *arguments, cwd=place, code=code
        )

    done = suggest("--count", "4", "--batch", "3", "--format", "jsonl")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["rank"] for record in records] == [1, 2, 3, 4]
    assert [record["batch"] for record in records] == [1, 1, 1, 2]
    assert len({record["path"] for record in records}) == 4
    assert {record["reason"] for record in records} <= {"new", "ambiguous"}
    assert "10 of 10 images took part" in done.stderr
    output = tmp_path / "next.csv"
    assert suggest("--count", "4", "--format", "csv", "--output", output).stdout == ""
    rows = list(csv.DictReader(io.StringIO(output.read_text(encoding="utf-8"))))
    assert [row["path"] for row in rows] == [record["path"] for record in records]
    table = suggest("--count", "4").stdout.splitlines()
    assert [line.split()[-1] for line in table[1:]] == [record["path"] for record in records]
    assert "decide themselves" not in done.stderr


def test_tasks_of_label_studio_have_a_priority(place, tmp_path):
    """In the order of the suggestions; what may be of a new label has no prediction."""
    output = tmp_path / "next.json"
    options = ("--index", "index.npz", "--config", OFFLINE, "--count", "4")
    done = run("suggest", "new", "other", *options, "--format", "jsonl", cwd=place)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    run("suggest", "new", "other", *options, "--format", "label-studio", "--output", output, cwd=place)
    tasks = json.loads(output.read_text(encoding="utf-8"))
    assert [task["data"]["path"] for task in tasks] == [record["path"] for record in records]
    assert [task["data"]["priority"] for task in tasks] == [1, 0.75, 0.5, 0.25]
    assert [bool(task["predictions"]) for task in tasks] == [record["reason"] != "new" for record in records]
    assert '<Choice value="stripes"/>' in output.with_suffix(".xml").read_text(encoding="utf-8")
    wrong = run("suggest", "new", *options, "--format", "label-studio", cwd=place, code=2)
    assert "needs --output" in wrong.stderr


def test_a_calibrated_index_says_what_decides_itself(place, index_file):
    """Only there: elsewhere nobody measured it."""
    run("calibrate", index_file, "--config", OFFLINE, cwd=place)
    done = run("suggest", "new", "--index", index_file, "--config", OFFLINE, cwd=place)
    assert "images decide themselves at an expected precision of 95%" in done.stderr


def test_at_the_very_start(place):
    """No index is needed, and none is looked for."""
    done = run("suggest", "new", "--without-index", "--count", "3", "--config", OFFLINE, "--format", "jsonl", cwd=place)
    assert {json.loads(line)["reason"] for line in done.stdout.splitlines()} == {"cold_start"}
    wrong = run("suggest", "new", "--without-index", "--by", "new", "--config", OFFLINE, cwd=place, code=2)
    assert "--without-index excludes" in wrong.stderr


def test_what_cannot_be_used_is_told(place, tmp_path):
    """Broken files end with 3, and a folder without images with 1; images of the index are left out."""
    shutil.copytree(place / "new", tmp_path / "new")
    shutil.copytree(place / "dataset/stripes", tmp_path / "new/again")
    (tmp_path / "new/broken.png").write_bytes(b"no image")
    index = place / "index.npz"
    done = run("suggest", tmp_path / "new", "--index", index, "--config", OFFLINE, code=3)
    assert "8 of 14 images took part; 5 are in the index already" in done.stderr
    assert "broken.png" in done.stderr
    (tmp_path / "empty").mkdir()
    assert "No image files" in run("suggest", tmp_path / "empty", "--index", index, "--config", OFFLINE, code=1).stderr
    missing = run("suggest", place / "new", "--index", tmp_path / "none.npz", "--config", OFFLINE, code=1)
    assert "none.npz" in missing.stderr
