"""`calibrate` stores thresholds and prints them under the names of their settings."""

import json
import re
import shutil

import pytest

from tests.helpers.command_line import OFFLINE, run
from tests.helpers.datasets import draw_dataset


def test_a_guarantee_is_stored_and_shown(place, index_file):
    """One that cannot be given is refused, with the number of examples it takes."""
    refused = run("calibrate", index_file, "--target-precision", 0.95, "--config", OFFLINE, code=1)
    assert "too few" in refused.stderr
    assert "59 examples" in refused.stderr
    assert json.loads(run("info", index_file, "--json").stdout)["calibration"] == {"state": "missing"}
    options = ["--target-precision", 0.7, "--keep-known", 0.9, "--confidence-level", 0.8]
    done = run("calibrate", index_file, *options, "--config", OFFLINE)
    assert "20 images held out by folds" in done.stdout
    assert re.search(
        r"^confidence_threshold: 0\.\d{4}; at most 30% .* with probability 0\.8$", done.stdout, re.MULTILINE
    )
    assert "accepts 90% of images of known labels" in done.stdout
    assert "the simplest of the best by log-loss" in done.stdout
    assert "There is no guarantee about unknown labels." in done.stdout
    thresholds = json.loads(run("info", index_file, "--json").stdout)["thresholds"]
    assert thresholds["keep_known"]["value"] == 0.9
    assert 0 < thresholds["confidence_threshold"]["value"] <= 1


def test_the_printed_familiarity_threshold_is_a_setting(place, index_file):
    """`calibrate`, `info` and `info --json` name it alike; set to that value, it gives the same results."""
    printed = run("calibrate", index_file, "--keep-known", 0.5, "--config", OFFLINE).stdout
    of_calibrate = re.search(r"^familiarity_threshold: (-?\d+\.\d+)", printed, re.MULTILINE).group(1)
    of_info = re.search(r"familiarity_threshold: (-?\d+\.\d+) \(familiarity\)", run("info", index_file).stdout).group(1)
    exact = json.loads(run("info", index_file, "--json").stdout)["thresholds"]["familiarity_threshold"]["value"]
    assert of_calibrate == of_info == f"{exact:.4f}"
    assert "open_set_threshold" not in printed
    classify = ["classify", place / "new", place / "other", "--index", index_file, "--config", OFFLINE]
    classify += ["--format", "jsonl"]
    expected = run(*classify).stdout
    assert {json.loads(line)["reason"] for line in expected.splitlines()} > {"novel"}
    for value in (of_calibrate, exact):
        assert run(*classify, "--set", f"retrieval.familiarity_threshold={value}").stdout == expected
    both = ["--set", f"retrieval.familiarity_threshold={exact}", "--set", "retrieval.open_set_threshold=0.5"]
    assert "not both" in run(*classify, *both, code=1).stderr


@pytest.mark.parametrize("flag", ["--target-precision", "--confidence-level", "--keep-known"])
@pytest.mark.parametrize("value", [95, 1, 0])
def test_a_percentage_in_place_of_a_probability_is_refused(place, flag, value):
    """The error names the number that is wrong."""
    done = run("calibrate", place / "index.npz", f"{flag}={value}", code=1)
    name = flag.removeprefix("--").replace("-", "_")
    assert f"error: {name}: expected a number between 0 and 1" in done.stderr


def test_other_images_and_groups(place, index_file):
    """A labeled folder instead of leave-one-out; groups by a pattern; unlabeled images to find a shift."""
    done = run("calibrate", index_file, "--holdout", place / "new", "--config", OFFLINE)
    assert f"8 images of {place / 'new'}" in done.stdout
    done = run("calibrate", index_file, "--group-by", r"(\d)\.png", "--config", OFFLINE)
    assert "held out with their group, of 20 groups" in done.stdout
    done = run("calibrate", index_file, "--target-images", place / "new", "--config", OFFLINE)
    assert "(z = " in done.stdout
    assert "a shift is easily missed" in done.stdout
    both = run("calibrate", index_file, "--holdout", place / "new", "--group-by", "folder", code=1)
    assert "holdout replaces leave-one-out" in both.stderr


def test_a_plain_calibration_repeats_the_request(place, index_file):
    """`info` shows it with its date; `--reset` forgets it."""
    run("calibrate", index_file, "--target-precision", 0.7, "--confidence-level", 0.8, "--config", OFFLINE)
    done = run("calibrate", index_file, "--keep-known", 0.9, "--config", OFFLINE)
    assert "as asked for before: target_precision 0.7, confidence_level 0.8" in done.stdout
    assert re.search(r"^confidence_threshold: 0\.\d{4}; at most 30%", done.stdout, re.MULTILINE)
    shown = run("info", index_file).stdout
    assert re.search(r"date: \d{4}-\d\d-\d\d", shown)
    assert "asked for: target_precision 0.7, confidence_level 0.8, keep_known 0.9" in shown
    assert "confidence_threshold" not in run("calibrate", index_file, "--reset", "--config", OFFLINE).stdout


SEVERAL = """\
encoder:
  - backend: descriptor
    view: center 0.6
  - backend: descriptor
retrieval:
  index_path: index
  cascade: true
rerank:
  backend: views
"""


NAMES = ["descriptor center 0.6", "descriptor"]
PATTERNS = ("stripes", "pinstripe", "gingham")


@pytest.fixture
def several(tmp_path):
    """Runs a command with the settings of two encoders, where an index of them was built; also returns the folder."""
    draw_dataset(tmp_path / "dataset", PATTERNS, count=4, size=24)
    draw_dataset(tmp_path / "new", PATTERNS, count=1, seed=1, size=24)
    (tmp_path / "own.yaml").write_text(SEVERAL)

    def call(*arguments, code=0):
        return run(*arguments, "--config", "own.yaml", cwd=tmp_path, code=code)

    call("build", "dataset", "--output", "index")
    return call, tmp_path


def described(call, *arguments):
    return json.loads(call("info", *arguments, "--json").stdout)


def test_several_encoders_are_calibrated_and_shown(several):
    """Listed in a file of settings. Each result names those that were asked."""
    call, _ = several
    text = call("calibrate").stdout
    assert "stage 1 of " in text or "fusion: " in text or "does not improve the fusion" in text
    encoders, calibration = described(call)["encoders"], described(call)["calibration"]
    assert [(encoder["name"], encoder["vectors"]) for encoder in encoders] == [(name, 12) for name in NAMES]
    assert (calibration["state"], [fit["name"] for fit in calibration["encoders"]]) == ("loaded", NAMES)
    assert call("info").stdout.count("log-loss by shrinkage") == 2
    assert "descriptor center 0.6 -> descriptor" in call("report").stdout
    for line in call("classify", "new", "--format", "jsonl").stdout.splitlines():
        assert set(json.loads(line)["encoders"]) <= set(NAMES)
        assert json.loads(line)["encoders"]


@pytest.mark.long
def test_other_encoders_than_those_of_the_index(several):
    """Some, or another order, answer without the calibration; others are refused, with what to do."""
    call, _ = several
    call("calibrate")
    one = ["--set", "encoder={backend: descriptor}"]
    for settings, configured in (
        (one, "descriptor"),
        (["--set", "encoder.0.view=null", "--set", "encoder.1.view=center 0.6"], "descriptor, descriptor center 0.6"),
    ):
        done = call("classify", "new/stripes", *settings)
        expected = f"is of the encoders descriptor center 0.6, descriptor, but configured are {configured}."
        assert expected in " ".join(done.stderr.split())
    swapped = call("report", *settings).stderr
    assert "warning: This calibration is of the encoders of the index, descriptor center 0.6, descriptor." in swapped
    assert "warning" not in call("report").stderr
    assert "has vectors of descriptor center 0.6, which is not configured" in call("sync", *one, code=1).stderr
    other = call("classify", "new", "--set", "encoder.0.view=center 0.5", code=1).stderr
    assert "center 0.5" in other
    assert "view differ" in other
    twice = call("classify", "new", "--set", "encoder.0.view=null", code=1).stderr
    assert "give the same vectors. Name each encoder once, or on another view." in twice


@pytest.mark.long
def test_several_encoders_through_every_other_command(several):
    """Reranked, measured, audited, edited, copied and checked: the calibration and all vectors stay."""
    call, folder = several
    call("calibrate", "--rerank", "--max-calls", 20, "--keep-known", "0.9")
    assert "accuracy by calls" in call("report", "--output", "report.html").stdout
    call("evaluate", "new", "--json", "evaluation.json")
    assert json.loads((folder / "evaluation.json").read_text())["images"]["known"] == 3
    call("audit", "--json", "audit.json")
    draw_dataset(folder / "more", ("tartan",), count=1, size=24)
    call("add", "more/tartan/00.png", "--label", "tartan")
    call("export", "index", "--output", "index.npz")
    call("import", "index.npz", "--output", "imported")
    for index in ("index", "index.npz", "imported"):
        assert [encoder["vectors"] for encoder in described(call, index)["encoders"]] == [13, 13]
        assert described(call, index)["calibration"]["state"] == "loaded"
    call("sync")
    call("doctor", "index")


def test_a_holdout_is_named_as_a_dataset_of_build(place, index_file, tmp_path):
    """Options choose its labels and its split; without a dataset they are wrong usage."""
    shutil.copytree(place / "new", tmp_path / "files")
    rows = [f"{file.relative_to(tmp_path)},{file.parent.name},test" for file in (tmp_path / "files").glob("*/*.*")]
    rows.append("nowhere.png,stripes,train")
    (tmp_path / "new.csv").write_text("\n".join(["path,kind,part", *rows]), encoding="utf-8")
    chosen = ["--label-from", "kind", "--split-from", "part", "--split", "test"]
    done = run("calibrate", index_file, "--holdout", tmp_path / "new.csv", *chosen)
    assert f"images of {tmp_path / 'new.csv'} (label_from kind, split_from part, split test)" in done.stdout
    refused = run("calibrate", index_file, "--holdout", tmp_path / "new.csv", *chosen[2:], code=1).stderr
    assert "label" in refused
    assert "Name it by --holdout" in run("calibrate", index_file, "--split", "test", code=2).stderr
    assert "does not exist" in run("calibrate", index_file, "--target-images", "nowhere.zip", code=1).stderr
