"""Shells complete commands, options and configurations."""

import pytest
from typer.testing import CliRunner

from lmm_classifier.cli.app import app
from lmm_classifier.cli.completion import complete_configuration, complete_place
from lmm_classifier.config import preset_names


def complete(shell, **variables):
    """Run the command as a shell does that asks for something."""
    environment = {"_LMM_CLASSIFIER_COMPLETE": shell, **variables}
    done = CliRunner().invoke(app, env=environment, prog_name="lmm-classifier")
    assert done.exit_code == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("shell", "sign"),
    [("bash", "complete -o default -F"), ("zsh", "#compdef lmm-classifier"), ("fish", "complete --command")],
)
def test_a_script_for_each_shell(shell, sign):
    """It names the command, and asks it back by the variable that the program reads."""
    script = complete(f"source_{shell}")
    assert sign in script
    assert "_LMM_CLASSIFIER_COMPLETE" in script


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("lmm-classifier cal", ["calibrate"]),
        ("lmm-classifier classify --qu", ["--quiet"]),
        ("lmm-classifier classify --config off", ["offline"]),
        ("lmm-classifier export-encoder on", ["onnx"]),
    ],
)
def test_a_shell_gets_what_can_follow(words, expected):
    """Commands, options, presets and words of a choice."""
    found = complete("complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1))
    assert found.split() == expected


def test_configurations_are_presets_yaml_files_and_folders(tmp_path, monkeypatch):
    """In the current folder and in others; a folder that does not exist offers nothing."""
    (tmp_path / "sub").mkdir()
    for name in ("own.yaml", "off.yml", "photo.jpg", "sub/deep.yaml"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert complete_configuration("") == [*preset_names(), "off.yml", "own.yaml", "sub/"]
    assert complete_configuration("off") == ["offline", "off.yml"]
    assert complete_configuration("sub/") == ["sub/deep.yaml"]
    assert complete_configuration("./o") == ["./off.yml", "./own.yaml"]
    assert complete_configuration(f"{tmp_path}/ow") == [f"{tmp_path}/own.yaml"]
    assert complete_configuration("nowhere/x") == []


def test_a_dataset_is_any_file_or_folder(tmp_path, monkeypatch):
    """Archives and tables are offered as folders are; a URL is not looked up."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images.zip").touch()
    assert complete_place("im") == ["images/", "images.zip"]
    assert complete_place("s3://bucket/x") == []
    assert complete_place("a\0/") == []
