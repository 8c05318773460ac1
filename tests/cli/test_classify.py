"""`classify` writes results in three formats; its exit code says what was among them."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.cli.stored_results import StoredResults
from lmm_classifier.data.synthetic.catalog import UNKNOWN, draw
from lmm_classifier.pipeline.classifier import HybridClassifier
from tests.helpers.command_line import COMMAND, OFFLINE, run
from tests.helpers.datasets import draw_dataset


@pytest.mark.long
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


@pytest.fixture(scope="module")
def calibrated(place, tmp_path_factory):
    """The index, calibrated: its rule is not fitted again by each command."""
    file = shutil.copy(place / "index.npz", tmp_path_factory.mktemp("classify") / "index.npz")
    run("calibrate", file, "--config", OFFLINE)
    return file


@pytest.fixture
def work(place, calibrated, tmp_path):
    """A folder with an index and new images that a test may change."""
    shutil.copy(calibrated, tmp_path / "index.npz")
    shutil.copytree(place / "new", tmp_path / "new")
    return tmp_path


def classify(work, *arguments, code=0, stdin=None):
    common = ["--index", "index.npz", "--config", OFFLINE, "--set", "encoder.batch_size=2"]
    common += ["--set", "rerank.enabled=false"]
    return run("classify", *arguments, *common, cwd=work, code=code, stdin=stdin)


def paths_in(file):
    stored = StoredResults.read(file, file.suffix.removeprefix("."))
    assert not stored.torn_bytes
    return list(stored.by_path)


@pytest.fixture
def signal_after(monkeypatch):
    """Send a signal to this process after some results of the next run."""
    real = HybridClassifier.classify_paths

    def arm(number, results):
        def classify_paths(self, *arguments, **options):
            for done, result in enumerate(real(self, *arguments, **options), start=1):
                yield result
                if done == results:
                    monkeypatch.setattr(HybridClassifier, "classify_paths", real)
                    os.kill(os.getpid(), number)

        monkeypatch.setattr(HybridClassifier, "classify_paths", classify_paths)

    return arm


@pytest.mark.parametrize(("name", "ending", "code"), [("SIGINT", "jsonl", 130), ("SIGTERM", "csv", 143)])
def test_an_interrupted_run_is_resumed(work, signal_after, name, ending, code):
    """One line says what is there; then nothing is classified again, and nothing is missing, torn or twice."""
    output, complete = work / f"results.{ending}", work / f"complete.{ending}"
    classify(work, "new", "--output", complete)
    signal_after(getattr(signal, name), 3)
    done = classify(work, "new", "--output", output, code=code)
    last = done.stderr.splitlines()[-1]
    assert last == f"Interrupted. 3 results are in {output}. The same command with --resume continues."
    before = output.read_bytes()
    output.write_bytes(before + complete.read_bytes()[len(before) : len(before) + 40])  # a torn record
    done = classify(work, "new", "--output", output, "--resume")
    assert "\n8 images: " in done.stderr
    assert "3 of them were in" in done.stderr
    assert output.read_bytes() == complete.read_bytes()
    assert "8 of them were in" in classify(work, "new", "--output", output, "--resume").stderr
    assert output.read_bytes() == complete.read_bytes()


def test_resuming_follows_the_content(work):
    """A changed file is classified again, a failure is tried again, and a file that is gone keeps its result."""
    output = work / "results.jsonl"
    (work / "new/bad.png").write_bytes(b"no image")
    assert "not readable: new/bad.png" in classify(work, "new", "--output", output, code=3).stderr
    whole = output.read_bytes()
    classify(work, "new", "--output", output, "--resume", code=3)
    assert output.read_bytes() == whole  # the same failure is not written twice
    shutil.copy(work / "new/gingham/00.png", work / "new/bad.png")
    shutil.copy(work / "new/gingham/01.png", work / "new/stripes/00.png")
    (work / "new/stripes/01.png").unlink()
    named = [*sorted(map(str, (work / "new").rglob("*.png"))), str(work / "new/stripes/01.png")]
    done = classify(work, *(os.path.relpath(name, work) for name in named), "--output", output, "--resume")
    added = [json.loads(line) for line in output.read_bytes()[len(whole) :].splitlines()]
    assert [(result["path"], result["label"]) for result in added] == [
        ("new/bad.png", "gingham"),
        ("new/stripes/00.png", "gingham"),
    ]
    assert "9 images" in done.stderr


def test_an_existing_output_is_never_lost_by_accident(work):
    """It is continued or replaced only on request, and stays where the run cannot start."""
    output = work / "results.jsonl"
    classify(work, "new", "--output", output)
    whole = output.read_bytes()
    assert "--resume continues it, --overwrite replaces it" in classify(work, "new", "--output", output, code=1).stderr
    run("classify", "new", "--index", "none", "--config", OFFLINE, "--output", output, "--overwrite", cwd=work, code=1)
    other = ["--set", "retrieval.k=3", "--resume"]
    assert "its settings or its encoder differ" in classify(work, "new", "--output", output, *other, code=1).stderr
    assert output.read_bytes() == whole
    classify(work, "new", "--output", output, "--overwrite")
    assert output.read_bytes() == whole
    run("calibrate", "index.npz", "--keep-known", 0.9, "--config", OFFLINE, cwd=work)
    done = classify(work, "new", "--output", output, "--resume")
    assert "The index changed since" in done.stderr
    assert output.read_bytes() == whole


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_is_told(work):
    """One error line names the file."""
    done = classify(work, "new", "--output", "/dev/full", "--format", "csv", code=1)
    assert done.stderr.splitlines()[-1] == "error: Cannot write /dev/full: No space left on device."


def test_one_image_from_standard_input(work):
    """Its name is `-`; other bytes are one unreadable image."""
    for data, code, label in [((work / "new/stripes/00.png").read_bytes(), 0, "stripes"), (b"text", 3, "unknown")]:
        done = classify(work, "-", "--format", "jsonl", code=code, stdin=data)
        result = json.loads(done.stdout)
        assert (result["path"], result["label"]) == ("-", label)
        assert "/stdin" not in (result["error"] or "")


def test_images_from_a_list(work):
    """Missing ones are reported, the others classified."""
    (work / "list").write_bytes(b"new/stripes/00.png\r\n\r\nnew/none.png\r\nnew/stripes/00.png\r\n")
    done = classify(work, "--files-from", "list", "--format", "jsonl", code=3)
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == ["new/stripes/00.png", "new/none.png"]
    assert "1 were given more than once" in done.stderr
    assert "not readable: new/none.png: no such file" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["new", "--null"],
        ["new", "--resume"],
        ["new", "--output", "x.csv", "--resume", "--overwrite"],
        ["-", "--files-from", "-"],
        ["new", "--move"],
        ["new", "--copy-to", "a", "--link-to", "b"],
        ["new", "--output", "x.xlsx"],
    ],
)
def test_options_that_do_not_go_together(work, arguments):
    """Wrong usage exits with 2 and makes nothing."""
    classify(work, *arguments, code=2)
    assert {path.name for path in work.iterdir()} == {"index.npz", "new"}


def test_the_ending_of_the_output_tells_its_format(work):
    """Of a table too; an ending that tells none is refused with those that do, unless --format is given."""
    for name, start in (("a.txt", "label  "), ("c.CSV", "path,label")):
        classify(work, "new/stripes/00.png", "--output", name)
        assert (work / name).read_text().startswith(start)
    refused = " ".join(classify(work, "new", "--output", "x.json", code=2).stderr.split())
    assert "Expected .jsonl, .ndjson, .csv, .txt, .parquet, or --format." in refused
    classify(work, "new/stripes/00.png", "--output", "x.json", "--format", "jsonl")
    assert (work / "x.json").read_text().startswith("{")


def test_everything_skipped_is_reported(work):
    """With its name and why, on the terminal and in the report; the exit code is 3."""
    (work / "outside.png").write_bytes((work / "new/stripes/00.png").read_bytes())
    (work / "new/link.png").symlink_to(work / "outside.png")
    (work / "new/a.jp2").touch()
    os.mkfifo(work / "new/pipe.png")
    (work / "new/no ending").write_bytes((work / "outside.png").read_bytes())
    (work / "new/__MACOSX").mkdir()
    done = classify(work, "new", "--report", "report.json", code=3)
    assert "9 images: " in done.stderr
    assert "4 files skipped: 1 unsupported, 1 outside, 1 unreadable, 1 ignored" in "".join(sorted_counts(done.stderr))
    report = json.loads((work / "report.json").read_text())
    assert {file["path"] for file in report["skipped"]} == {
        "new/link.png", "new/a.jp2", "new/pipe.png", "new/__MACOSX",
    }  # fmt: skip
    assert all(file["reason"] for file in report["skipped"])
    followed = classify(work, "new", "--follow-links", ".", code=3)
    assert "10 images: " in followed.stderr


def sorted_counts(text):
    """Yield the line of counts with its kinds in a fixed order."""
    line = next(line for line in text.splitlines() if "files skipped" in line)
    head, _, kinds = line.partition(": ")
    order = ["unsupported", "outside", "unreadable", "ignored"]
    yield f"{head}: " + ", ".join(sorted(kinds.split(", "), key=lambda kind: order.index(kind.split()[1])))


def test_images_are_sorted_into_folders(work):
    """Copied, linked or moved; a second run changes nothing, and a later search passes the folder over."""
    for _ in range(2):
        done = classify(work, "new", "--copy-to", "new/sorted")
    assert "new/sorted: 8 already there" in done.stderr
    assert sorted(path.parent.name for path in (work / "new/sorted").rglob("*.png")) == sorted(
        path.parent.name for path in (work / "new").glob("*/*.png")
    )
    assert "8 images: " in classify(work, "new").stderr
    classify(work, "new", "--link-to", "links")
    assert all(path.is_symlink() for path in (work / "links").rglob("*.png"))
    run("build", "new/sorted", "--output", "sorted.npz", "--config", OFFLINE, cwd=work)
    before = {path.name: path.read_bytes() for path in (work / "new/stripes").iterdir()}
    classify(work, "new/stripes", "--copy-to", "moved", "--move", "--output", "moved.jsonl")
    assert not any((work / "new/stripes").iterdir())
    assert {path.name: path.read_bytes() for path in (work / "moved").rglob("*.png")} == before
    done = classify(work, "new/stripes", "--copy-to", "moved", "--move", "--output", "moved.jsonl", "--resume")
    assert "0 images: nothing left to do" in done.stderr


def test_a_page_of_the_run(work):
    """It has a card for each image, the least certain first."""
    classify(work, "new", "--html", "page.html")
    page = (work / "page.html").read_text(encoding="utf-8")
    assert page.count("<article") == 8
    assert "Accepted" in page


def test_no_cell_is_a_formula(work):
    """A file name that a spreadsheet would run gets an apostrophe, and is read back without."""
    name = "=HYPERLINK(1).png"
    shutil.copy(work / "new/stripes/00.png", work / name)
    classify(work, name, "--output", "results.csv")
    assert f"\n'{name}," in (work / "results.csv").read_text()
    assert paths_in(work / "results.csv") == [name]


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_group_is_interrupted(work, number):
    """As a terminal does it: decoder processes get the signal too, and no traceback is seen."""
    for path in sorted((work / "new").rglob("*.png")):
        for copy in range(60):
            Image.open(path).save(path.with_name(f"{path.stem}-{copy}.tif"))
    command = [COMMAND, "classify", "new", "--index", "index.npz", "--config", OFFLINE, "--output", "r.jsonl"]
    process = subprocess.Popen(command, cwd=work, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not (work / "r.jsonl").exists() or not (work / "r.jsonl").stat().st_size:
        time.sleep(0.01)
        assert process.poll() is None
    os.killpg(process.pid, number)
    errors = process.communicate()[1]
    assert process.returncode == 128 + number
    assert "Traceback" not in errors
    assert "The same command with --resume continues." in errors.splitlines()[-1]
    run("classify", "new", *command[3:], "--resume", cwd=work)
    assert len(paths_in(work / "r.jsonl")) == 8 * 61


def test_a_drift_test_continues_over_runs(work, signal_after):
    """Interrupted and resumed, or on several days, it is the test of one run; an alarm is shown and reported."""
    whole = classify(work, "new", "--drift", "whole.drift", "--report", "report.json")
    assert "drift: no change found in 8 images" in whole.stderr
    assert json.loads((work / "report.json").read_text())["drift"]["images"] == 8
    signal_after(signal.SIGINT, 3)
    output = ["--output", "results.jsonl", "--drift", "days.drift"]
    classify(work, "new", *output, code=130)
    classify(work, "new", *output, "--resume")
    assert (work / "days.drift").read_text() == (work / "whole.drift").read_text()
    draw_dataset(work / "other", UNKNOWN, count=20, seed=1, size=64)
    changed = classify(work, "other", "--drift", "days.drift", "--report", "report.json", "--html", "page.html")
    assert "the images changed, they are less familiar; alarm at image" in changed.stderr
    assert "images with the most evidence:\n  other" in changed.stderr
    drift = json.loads((work / "report.json").read_text())["drift"]
    assert drift["is_alarm"]
    assert drift["images"] > 40
    assert "the images changed" in (work / "page.html").read_text()
    again = classify(work, "other", "new", "--drift", "days.drift")  # a copy is no news
    assert f"of {drift['images']} (" in again.stderr


def test_a_drift_test_needs_images_and_an_index(work):
    """The reference is the index here; a file of results is no drift test, and is not changed."""
    refused = run("classify", "new", "--drift", "d", "--server", "http://localhost:1", cwd=work, code=2).stderr
    assert "--server excludes --drift" in refused
    assert "GET /v1/runs" in refused
    classify(work, "new", "--output", "results.jsonl")
    text = (work / "results.jsonl").read_text()
    assert "no line of a drift test" in classify(work, "new", "--drift", "results.jsonl", code=1).stderr
    assert (work / "results.jsonl").read_text() == text


def test_a_metric_is_learned_only_where_the_guard_allows_it(work):
    """The descriptor is refused by name, and the run continues; the report calls it an experiment."""
    done = classify(work, "new", "--learn-from", "new", "--report", "report.json")
    assert "learned metric (experiment): not used; descriptor: its vectors are whitened" in done.stderr
    learned = json.loads((work / "report.json").read_text())["learned_metric"]
    assert (learned["experiment"], learned["is_used"], learned["images"]) == (True, False, 8)
    (work / "empty").mkdir()
    assert "No image files in empty" in classify(work, "new", "--learn-from", "empty", code=1).stderr
    assert "standard input" in classify(work, "new", "--learn-from", "-", code=2).stderr


@pytest.mark.long
def test_priors_are_estimated_from_the_images_of_the_run(work):
    """A folder of one label changes them; such results are not continued by a run without."""
    shutil.copytree(work / "new" / "stripes", work / "one")
    for number in range(30):
        draw("stripes", np.random.default_rng(number), 64).save(work / "one" / f"{number}.png")
    done = classify(
        work, "one", "--estimate-priors", "--output", "r.jsonl", "--report", "report.json", "--html", "p.html"
    )
    assert "label priors: estimated from 32 images" in done.stderr
    assert "estimated from 32 images" in (work / "p.html").read_text()
    priors = json.loads((work / "report.json").read_text())["label_priors"]
    assert priors["shares"]["stripes"]["images"] > 0.5
    results = [json.loads(line) for line in (work / "r.jsonl").read_text().splitlines()]
    assert all(result["adaptations"] == ["estimated_priors"] for result in results)
    assert "another run" in classify(work, "one", "--output", "r.jsonl", "--resume", code=1).stderr
    classify(work, "one", "--estimate-priors", "--output", "r.jsonl", "--resume")


@pytest.mark.long
def test_a_drift_test_does_not_depend_on_how_a_folder_is_sorted(work):
    """The images of a folder come in another order than their names; those of a list keep theirs."""
    draw_dataset(work / "many", count=8, seed=5, size=64)
    names = [str(path.relative_to(work)) for path in sorted((work / "many").rglob("*.png"))]
    classify(work, "many", "--drift", "folder.drift")
    (work / "list.txt").write_text("\n".join(names))
    classify(work, "--files-from", "list.txt", "--drift", "list.drift")
    folder, listed = (
        [json.loads(line)["name"] for line in (work / file).read_text().splitlines()[1:]]
        for file in ("folder.drift", "list.drift")
    )
    assert listed == names
    assert sorted(folder) == names
    assert folder != names


def test_a_place_for_results_of_workers_needs_workers(tmp_path):
    """And a cluster needs such a place."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    error = run("classify", "a.png", "--work", "work", cwd=tmp_path, code=2).stderr
    assert "--engine processes" in error
    assert (
        "needs --work" in run("classify", "a.png", "--engine", "ray", "--address", "auto", cwd=tmp_path, code=2).stderr
    )
