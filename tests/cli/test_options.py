"""A setting comes from its flag, then from --set, then from the --config file, then from the defaults."""

import json
from pathlib import Path

import pytest

from lmm_classifier import index_builder
from tests.helpers.command_line import OFFLINE, run
from tests.helpers.datasets import draw_dataset


def test_flags_come_before_set_before_the_file(place, tmp_path):
    """One rule for all settings."""
    text = Path(OFFLINE).read_text(encoding="utf-8")
    (tmp_path / "own.yaml").write_text(f"unknown_label: from-file\n{text}", encoding="utf-8")
    common = ["classify", place / "new/stripes/00.png", "--config", tmp_path / "own.yaml", "--format", "jsonl"]
    common += ["--set", "retrieval.open_set_threshold=1", "--set", "retrieval.index_path=nowhere.npz"]
    done = run(*common, "--index", place / "index.npz")
    assert json.loads(done.stdout)["label"] == "from-file"
    done = run(*common, "--index", place / "index.npz", "--set", "unknown_label=from-set")
    assert json.loads(done.stdout)["label"] == "from-set"
    assert "nowhere.npz" in run(*common, code=1).stderr


def test_logs_can_be_json(place):
    """With `logging.json_lines` every log line on standard error is an object."""
    done = run(
        "classify", "new/stripes/00.png", "--index", "index.npz", "--config", OFFLINE,
        "--set", "logging.json_lines=true", "--format", "jsonl", cwd=place,
    )  # fmt: skip
    records = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert any("descriptor" in record["message"] for record in records)


def test_a_preset_is_named_without_a_file(place, tmp_path):
    """It comes before a file of its name; `./offline` is the file."""
    (tmp_path / "offline").write_text(
        "unknown_label: from-the-file\nencoder.backend: descriptor\nrerank.backend: views\n"
    )
    common = ["classify", place / "new/stripes/00.png", "--index", place / "index.npz", "--format", "jsonl"]
    common += ["--set", "retrieval.open_set_threshold=1"]
    for name, label in [("offline", "unknown"), ("./offline", "from-the-file")]:
        assert json.loads(run(*common, "--config", name, cwd=tmp_path).stdout)["label"] == label


def test_paths_in_the_home_folder(place, tmp_path, monkeypatch):
    """`~` is expanded in every option and setting, where a shell leaves it; no folder is called `~`."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "photos").symlink_to(place / "dataset")
    (tmp_path / "home" / "own.yaml").write_text("unknown_label: mine\n")
    common = ["--config", "~/own.yaml", "--set", "encoder.backend=descriptor", "--set", "rerank.backend=views"]
    run("build", "~/photos", "--output=~/index", "--report=~/report.json", *common, cwd=tmp_path)
    assert (tmp_path / "home/index").is_dir()
    assert (tmp_path / "home/report.json").is_file()
    run("info", "~/index", *common, cwd=tmp_path)
    settings = ["--set", "retrieval.index_path=~/index", "--set", "logging.file=~/log.txt"]
    run("classify", "~/photos/stripes/00.png", "--output=~/results", *common, *settings, cwd=tmp_path)
    assert (tmp_path / "home/results").is_file()
    assert (tmp_path / "home/log.txt").is_file()
    assert list(tmp_path.iterdir()) == [tmp_path / "home"]


def test_the_index_builder_takes_presets_and_home_folders(place, tmp_path, monkeypatch):
    """`python -m lmm_classifier.index_builder` reads its options as `build` does."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    assert index_builder.main([str(place / "dataset"), "--output", "~/index.npz", "--config", "offline"]) == 0
    assert (tmp_path / "home/index.npz").is_file()
    assert index_builder.main([str(place / "dataset"), "--config", "ofline"]) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    "command",
    [
        ["classify", "new"],
        ["evaluate", "new"],
        ["calibrate"],
        ["calibrate", "--holdout", "new"],
        ["audit"],
        ["sync"],
        ["add", "new", "--label", "stripes"],
        ["info"],
        ["build", "dataset"],
    ],
    ids=" ".join,
)
def test_an_index_needs_no_configuration(editable, command):
    """A command without a configuration takes the encoder of the index."""
    draw_dataset(editable / "new", count=2, seed=5, size=48)
    run(*command, cwd=editable)  # with the default encoder each of those that open one would be refused


def test_a_named_encoder_comes_before_that_of_the_index(editable, monkeypatch):
    """A preset, a setting and a variable name an encoder, and the difference is an error as ever."""
    wrong = "but encoder.backend is 'onnx'. Use the configuration that it was built with"
    assert wrong in run("classify", "photo.png", "--set", "encoder.backend=onnx", cwd=editable, code=1).stderr
    Path(editable, "own.yaml").write_text("encoder: {backend: onnx}", encoding="utf-8")
    assert wrong in run("classify", "photo.png", "--config", "own.yaml", cwd=editable, code=1).stderr
    refused = run("classify", "photo.png", "--config", "default", cwd=editable, code=1).stderr
    assert "but encoder.backend is 'transformers'" in refused
    run("classify", "photo.png", "--set", "encoder.batch_size=3", cwd=editable)
    monkeypatch.setenv("LMM_CLASSIFIER__ENCODER__BACKEND", "onnx")
    assert wrong in run("classify", "photo.png", cwd=editable, code=1).stderr


def test_info_says_what_the_index_remembers(durable):
    """The settings that commands take from the index stand in its description."""
    assert "remembers     encoder.backend descriptor, rerank.backend views\n" in run("info", cwd=durable).stdout
