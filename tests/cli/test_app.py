"""The command line as a user types it."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.corpora import draw_corpus
from tests.helpers.paths import ROOT

COMMAND = str(Path(sys.executable).parent / "lmm-classifier")
OFFLINE = str(ROOT / "config" / "offline.yaml")


def run(*arguments, cwd=None, code=0, **environment):
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "error", "COLUMNS": "120", **environment},
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a corpus and its index."""
    root = tmp_path_factory.mktemp("cli")
    draw_corpus(root / "corpus", count=5, size=64)
    draw_corpus(root / "new", count=2, seed=1, size=64)
    done = run("build", "corpus", "--output", "index.npz", "--config", OFFLINE, "--report", "report.json", cwd=root)
    assert "stripes" in done.stderr
    assert "weight-free descriptor" in done.stderr
    return root


def test_build_report(place):
    """The JSON report counts what was indexed."""
    report = json.loads((place / "report.json").read_text())
    assert report["total"] == 20
    assert report["skipped"] == []


def test_build_goes_on_over_bad_files(place, tmp_path):
    """A bad file is in the table, the exit code tells, the index is there."""
    corpus = draw_corpus(tmp_path / "corpus", count=2, size=64)
    (corpus / "stripes" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    done = run("build", corpus, "--output", "folder", "--config", OFFLINE, cwd=tmp_path, code=3)
    assert "stripes/bad.jpg" in done.stderr
    assert (tmp_path / "folder" / "index.sqlite").is_file()
    done = run("info", "folder", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["pictures"] == 8


def test_classify_formats(place):
    """Table, JSON lines and CSV tell the same verdicts; the summary goes to stderr."""
    common = ["new", "--index", "index.npz", "--config", OFFLINE, "--set", "retrieval.open_set_threshold=-1"]
    lines = run("classify", *common, "--format", "jsonl", cwd=place)
    verdicts = [json.loads(line) for line in lines.stdout.splitlines()]
    assert len(verdicts) == 8
    assert "8 pictures" in lines.stderr
    rows = list(csv.DictReader(io.StringIO(run("classify", *common, "--format", "csv", cwd=place).stdout)))
    assert [row["label"] for row in rows] == [verdict["label"] for verdict in verdicts]
    assert [row["path"] for row in rows] == [verdict["path"] for verdict in verdicts]
    table = run("classify", *common, cwd=place).stdout.splitlines()
    assert len(table) == 9
    for line, verdict in zip(table[1:], verdicts):
        assert line.startswith(verdict["label"])
        assert verdict["path"] in line
    run("classify", *common, "--format", "jsonl", "--output", "out.jsonl", cwd=place)
    assert (place / "out.jsonl").read_text() == lines.stdout


def test_classify_exit_codes(place, tmp_path):
    """Unreadable files give 3, unknown pictures 4 on request, errors 1, wrong usage 2."""
    common = ["--index", place / "index.npz", "--config", OFFLINE]
    picture = place / "new" / "stripes" / "00.png"
    run("classify", picture, tmp_path / "nothing.jpg", *common, code=3)
    far = ["--set", "retrieval.open_set_threshold=1"]
    run("classify", picture, *common, *far)
    run("classify", picture, *common, *far, "--fail-on-unknown", code=4)
    run("classify", tmp_path, *common, code=1)
    run("classify", code=2)
    run("frobnicate", code=2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "nowhere", "--config", OFFLINE], "nowhere"),
        (["classify", "new", "--index", "missing.npz", "--config", OFFLINE], "there is no index at missing.npz"),
        (["classify", "new", "--config", "nofile.yaml"], "cannot read the configuration nofile.yaml"),
        (["classify", "new", "--set", "retrieval.kk=1"], "did you mean 'retrieval.k'"),
        (["classify", "new", "--set", "retrieval"], "expected KEY=VALUE"),
        (["info", "corpus"], "is not an index"),
        (["demo", "--output", "corpus"], "choose another folder"),
    ],
)
def test_errors_are_one_clear_line(place, arguments, said):
    """An error is one line and exit code 1; with --debug there is a traceback."""
    done = run(*arguments, cwd=place, code=1)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last
    assert "Traceback" not in done.stderr
    assert "Traceback" in run(*arguments, "--debug", cwd=place, code=1).stderr


def test_flags_win_over_set_over_file_over_defaults(place, tmp_path):
    """One rule for all settings."""
    text = Path(OFFLINE).read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(f"unknown_label: from-file\n{text}", encoding="utf-8")
    common = ["classify", place / "new/stripes/00.png", "--config", tmp_path / "mine.yaml", "--format", "jsonl"]
    common += ["--set", "retrieval.open_set_threshold=1", "--set", "retrieval.index_path=nowhere.npz"]
    label = json.loads(run(*common, "--index", place / "index.npz").stdout)["label"]
    assert label == "from-file"
    done = run(*common, "--index", place / "index.npz", "--set", "unknown_label=from-set")
    assert json.loads(done.stdout)["label"] == "from-set"
    assert "nowhere.npz" in run(*common, code=1).stderr


def test_info(place):
    """Encoder, counts and sizes; the default path comes from the configuration."""
    said = run("info", "index.npz", cwd=place).stdout
    for part in ("descriptor", "20", "stripes", "MB", "block_whitening"):
        assert part in said
    described = json.loads(run("info", "--json", "--set", "retrieval.index_path=index.npz", cwd=place).stdout)
    assert described["labels"] == {"gingham": 5, "herringbone": 5, "polka_dots": 5, "stripes": 5}


def test_logs_can_be_json(place):
    """With logging.json_lines every log line on stderr is an object."""
    done = run(
        "classify", "new/stripes/00.png", "--index", "index.npz", "--config", OFFLINE,
        "--set", "logging.json_lines=true", "--format", "jsonl", cwd=place,
    )  # fmt: skip
    logged = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert any("descriptor" in entry["message"] for entry in logged)


def test_odd_file_names_pass(place, tmp_path):
    """Names with line breaks and bytes that are no UTF-8 come through every format."""
    odd = tmp_path / "a\nb\udcff.png"
    odd.write_bytes((place / "new/stripes/00.png").read_bytes())
    common = ["classify", tmp_path, "--index", place / "index.npz", "--config", OFFLINE]
    assert json.loads(run(*common, "--format", "jsonl").stdout)["path"] == str(odd)
    (row,) = csv.DictReader(io.StringIO(run(*common, "--format", "csv").stdout))
    assert row["path"] == str(odd)
    table = run(*common).stdout
    assert len(table.splitlines()) == 2
    assert "a\\nb\\udcff.png" in table


def test_help_is_quick_and_complete():
    """Help names every command, and each command takes a configuration."""
    said = run("--help").stdout
    for word in ("build", "classify", "info", "demo", "--set", "--config"):
        assert word in said
    for command in ("build", "classify", "info", "demo"):
        assert "--config" in run(command, "--help").stdout
    assert run("--version").stdout.startswith("lmm-classifier 0.")


def test_a_closed_pipe_is_no_error(place):
    """`lmm-classifier classify ... | head -1` ends quietly."""
    command = f"{COMMAND} classify new new new new --index index.npz --config {OFFLINE} --format jsonl | head -c 10"
    done = subprocess.run(["bash", "-c", command], cwd=place, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_demo(tmp_path):
    """The demo draws, builds, classifies, prints its figures and writes one page."""
    done = run("demo", "--output", "shown", cwd=tmp_path)
    for part in ("known pictures right", "strangers called unknown", "asked again"):
        assert part in done.stdout
    page = (tmp_path / "shown" / "index.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") > 100
    assert "http" not in page.replace("http-equiv", "")
    run("demo", "--output", "shown", "--set", "rerank.enabled=false", cwd=tmp_path)


def test_calibrate(place, tmp_path):
    """A promise is stored and shown; one that cannot be kept is refused, with the number it takes."""
    index = tmp_path / "index.npz"
    index.write_bytes((place / "index.npz").read_bytes())
    refused = run("calibrate", index, "--target-precision", 0.95, "--config", OFFLINE, code=1)
    assert "too few" in refused.stderr
    assert "59 examples" in refused.stderr
    assert json.loads(run("info", index, "--json").stdout)["calibration"] is None
    done = run("calibrate", index, "--target-precision", 0.7, "--keep-known", 0.9, "--config", OFFLINE)
    assert "confidence_threshold" in done.stdout
    calibration = json.loads(run("info", index, "--json").stdout)["calibration"]
    assert calibration["keep_known"] == 0.9
    assert 0 < calibration["confidence_threshold"] <= 1
    assert "simplest of the best" in run("info", index).stdout
    assert "familiarity" in run("classify", place / "new", "--index", index, "--config", OFFLINE).stdout


@pytest.mark.parametrize("flag", ["--target-precision", "--delta", "--keep-known"])
def test_calibrate_refuses_what_is_no_share(place, flag):
    """A share of 95 or of 1 is a slip, and is told as one."""
    for value in (95, 1, 0):
        done = run("calibrate", place / "index.npz", f"{flag}={value}", code=1)
        assert f"{flag}: expected a number between 0 and 1" in done.stderr


def test_calibrate_by_other_pictures(place, tmp_path):
    """A labelled folder instead of leave-one-out; groups by rule; unlabelled pictures as a warning."""
    index = tmp_path / "index.npz"
    index.write_bytes((place / "index.npz").read_bytes())
    done = run("calibrate", index, "--holdout", place / "new", "--config", OFFLINE)
    assert f"8 pictures of {place / 'new'}" in done.stdout
    done = run("calibrate", index, "--group-by", r"(\d)\.png", "--config", OFFLINE)
    assert "left out with their group, of 20 groups" in done.stdout
    done = run("calibrate", index, "--like", place / "new", "--config", OFFLINE)
    assert "(z = " in done.stdout
    assert "easily overlooked" in done.stdout
    both = run("calibrate", index, "--holdout", place / "new", "--group-by", "folder", code=1)
    assert "--holdout replaces leave-one-out" in both.stderr
    whole = run("calibrate", index, "--group-by", "folder", "--config", OFFLINE, code=1)
    assert "puts every label into one group" in whole.stderr


def test_label_sets(place):
    """Asked for, each verdict lists the labels that hold the true one with the probability wanted."""
    arguments = ["classify", place / "new", "--index", place / "index.npz", "--config", OFFLINE, "--format", "jsonl"]
    plain = [json.loads(line) for line in run(*arguments).stdout.splitlines()]
    assert all(one["label_set"] is None for one in plain)
    asked = [json.loads(line) for line in run(*arguments, "--set", "retrieval.set_alpha=0.2").stdout.splitlines()]
    for one in asked:
        first = max(one["candidates"], key=lambda candidate: candidate["score"])
        assert one["label_set"][0] == first["label"]
