"""A file of settings is written for this machine, with questions in a terminal only."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from lmm_classifier import PipelineConfig
from lmm_classifier.cli import init as command
from lmm_classifier.cli.init import changed_settings, missing_installation
from lmm_classifier.config import preset_names
from tests.helpers.command_line import COMMAND, run
from tests.helpers.datasets import draw_dataset

pty = pytest.importorskip("pty", reason="this system has no terminals of that kind")


def in_terminal(folder, answers, *arguments, code=0):
    """Run the command in a terminal of its own, with these answers; return all that it showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "init", *arguments], cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    os.write(ours, answers.encode())
    shown = b""
    try:
        while block := os.read(ours, 4096):
            shown += block
    except OSError:  # the terminal closes with the process
        pass
    finally:
        os.close(ours)
    assert process.wait() == code, shown
    return shown.decode()


def uncommented(text):
    """Return a file of settings in which each key is set."""
    lines, in_block = [], False
    for line in text.splitlines():
        is_key = re.match(r" *# [a-z_0-9]+: ", line)
        if is_key or (in_block and re.match(r" *#   ", line)):
            in_block = in_block if not is_key else line.endswith("|-")
        else:
            in_block = False
        lines.append(line.replace("# ", "", 1) if is_key or in_block else line)
    return "\n".join(lines)


@pytest.mark.parametrize("preset", preset_names())
def test_the_file_has_the_settings_of_its_preset(tmp_path, preset):
    """As they are, and all others as comments; where the comments are removed, they have their defaults."""
    run("init", "--config", preset, cwd=tmp_path)
    file = tmp_path / "config.yaml"
    assert PipelineConfig.from_yaml(file) == PipelineConfig.preset(preset)
    text = file.read_text(encoding="utf-8")
    first, *_ = text.splitlines()
    schema = Path(first.removeprefix("# yaml-language-server: $schema=file://"))
    assert schema.is_file()
    file.write_text(uncommented(text), encoding="utf-8")
    config = PipelineConfig.from_yaml(file)
    config.retrieval.index_path = Path("index")  # a path in a file starts at its folder
    assert config == PipelineConfig.preset(preset)
    assert len(config.rerank.prompt.model_fields_set) > 5


def test_nothing_is_asked_without_a_terminal(tmp_path, monkeypatch):
    """The trained encoder is taken where its extra is installed."""
    for is_there, encoders in ((True, ["lite", "descriptor"]), (False, ["descriptor"])):
        monkeypatch.setattr("lmm_classifier.core.optional_imports.is_installed", lambda module, there=is_there: there)
        run("init", f"{is_there}.yaml", cwd=tmp_path)
        config = PipelineConfig.from_yaml(tmp_path / f"{is_there}.yaml")
        assert [encoder.backend for encoder in config.encoders] == encoders


@pytest.mark.long
@pytest.mark.parametrize(
    ("answers", "preset"),
    [("\n\n", "lite"), ("n\nn\n", "offline"), ("perhaps\nyes\ny\n", "default"), ("y\nn\nN\n", "offline")],
)
def test_questions_in_a_terminal(tmp_path, answers, preset):
    """Yes, no, or an empty line for the default; another answer is asked again."""
    shown = in_terminal(tmp_path, answers)
    assert "Has this machine a GPU" in shown
    assert PipelineConfig.from_yaml(tmp_path / "config.yaml") == PipelineConfig.preset(preset)


@pytest.mark.long
def test_a_named_configuration_is_not_asked_for(tmp_path):
    """Nor is anything that ends in an error anyway, and an end of the input writes nothing."""
    assert "?" not in in_terminal(tmp_path, "", "--config", "offline")
    shown = in_terminal(tmp_path, "", code=1)
    assert "config.yaml exists already. --overwrite replaces it." in shown
    assert "?" not in shown
    shown = in_terminal(tmp_path, "\x04", "other.yaml", code=1)
    assert "nothing is written" in shown
    assert not (tmp_path / "other.yaml").exists()


def test_the_commands_that_follow_are_shown(tmp_path):
    """They name the folder of images and the file, and can be typed as they are."""
    draw_dataset(tmp_path / "my photos", count=1)
    done = run("init", "own settings.yaml", "--images", "my photos", "--config", "offline", cwd=tmp_path)
    line = next(line for line in done.stdout.splitlines() if " build " in line)
    assert line == "  lmm-classifier build 'my photos' --config 'own settings.yaml'"
    run("build", "my photos", "--config", "own settings.yaml", cwd=tmp_path)
    assert (tmp_path / "index").is_dir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no/where.yaml"], "does not exist"),
        (["."], "is a folder"),
        (["image.png"], "exists and is no text file"),
        (["--images", "nowhere"], "nowhere is missing. Expected labeled images, as for build"),
    ],
)
def test_what_cannot_be_written(tmp_path, arguments, message):
    """One line says why, and what is there stays."""
    (tmp_path / "image.png").write_bytes(b"\0" * 9)
    done = run("init", *arguments, "--overwrite", "--config", "offline", cwd=tmp_path, code=1)
    assert message in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.png"]


def test_settings_of_the_command_line_are_written(tmp_path):
    """A path keeps its meaning in another folder; values of headers stay out of the file."""
    (tmp_path / "sub").mkdir()
    settings = ["--set", "retrieval.index_path=own", "--set", "labels=[no, 010]"]
    headers = "rerank.server.extra_headers={X-Key: hidden-word}"
    done = run("init", "sub/x.yaml", "--config", "offline", *settings, "--set", headers, cwd=tmp_path)
    config = PipelineConfig.from_yaml(tmp_path / "sub/x.yaml")
    assert config.retrieval.index_path == tmp_path / "own"
    assert config.labels == ["no", "010"]
    assert "hidden-word" not in (tmp_path / "sub/x.yaml").read_text() + done.stdout + done.stderr
    assert "extra_headers is not written" in done.stderr


def test_what_is_missing_is_named(monkeypatch):
    """The extras of the encoders and of the reranker; torch comes first."""
    monkeypatch.setattr("lmm_classifier.core.optional_imports.is_installed", lambda module: False)
    assert missing_installation(PipelineConfig.offline()) == []
    assert missing_installation(PipelineConfig.preset("lite")) == ["pip install 'lmm-classifier[lite]'"]
    expected = ["pip install torch && pip install 'lmm-classifier[siglip,vlm]'"]
    assert missing_installation(PipelineConfig()) == expected
    assert changed_settings(PipelineConfig()) == {}
    assert command.init.__doc__
