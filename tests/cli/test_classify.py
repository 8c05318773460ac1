"""`classify` writes results in three formats; its exit code says what was among them."""

import csv
import io
import json

from tests.helpers.command_line import OFFLINE, run


def test_all_formats_show_the_same_results(place):
    """The summary goes to standard error, so that standard output holds results only."""
    common = ["new", "--index", "index.npz", "--config", OFFLINE, "--set", "retrieval.open_set_threshold=-1"]
    lines = run("classify", *common, "--format", "jsonl", cwd=place)
    results = [json.loads(line) for line in lines.stdout.splitlines()]
    assert len(results) == 8
    assert "\n8 images: " in lines.stderr
    rows = list(csv.DictReader(io.StringIO(run("classify", *common, "--format", "csv", cwd=place).stdout)))
    assert [row["label"] for row in rows] == [result["label"] for result in results]
    assert [row["path"] for row in rows] == [result["path"] for result in results]
    table = run("classify", *common, cwd=place).stdout.splitlines()
    assert len(table) == 9
    for line, result in zip(table[1:], results):
        assert line.startswith(result["label"])
        assert result["path"] in line


def test_exit_codes(place, tmp_path):
    """Unreadable files give 3, unknown images 4 on request, a folder without images 1."""
    common = ["--index", place / "index.npz", "--config", OFFLINE]
    image = place / "new" / "stripes" / "00.png"
    assert "1 unreadable" in run("classify", image, tmp_path / "nothing.jpg", *common, code=3).stderr
    all_unknown = ["--set", "retrieval.open_set_threshold=1"]
    assert "1 unknown" in run("classify", image, *common, *all_unknown).stderr
    run("classify", image, *common, *all_unknown, "--fail-on-unknown", code=4)
    assert "No image files in" in run("classify", tmp_path, *common, code=1).stderr


def test_file_names_of_any_bytes_pass(place, tmp_path):
    """Line breaks and bytes that are not UTF-8 come through every format."""
    odd = tmp_path / "a\nb\udcff.png"
    odd.write_bytes((place / "new/stripes/00.png").read_bytes())
    common = ["classify", tmp_path, "--index", place / "index.npz", "--config", OFFLINE]
    assert json.loads(run(*common, "--format", "jsonl").stdout)["path"] == str(odd)
    (row,) = csv.DictReader(io.StringIO(run(*common, "--format", "csv").stdout))
    assert row["path"] == str(odd)
    table = run(*common).stdout
    assert len(table.splitlines()) == 2
    assert "a\\nb\\udcff.png" in table


def test_prediction_sets_are_written_where_they_are_asked_for(place):
    """Each set begins with the most likely label."""
    arguments = ["classify", place / "new", "--index", place / "index.npz", "--config", OFFLINE, "--format", "jsonl"]
    plain = [json.loads(line) for line in run(*arguments).stdout.splitlines()]
    assert all(result["prediction_set"] is None for result in plain)
    with_sets = run(*arguments, "--set", "retrieval.prediction_set_alpha=0.2").stdout.splitlines()
    for result in map(json.loads, with_sets):
        best = max(result["candidates"], key=lambda candidate: candidate["score"])
        assert result["prediction_set"][0] == best["label"]
