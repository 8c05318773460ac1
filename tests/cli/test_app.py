"""The command as a whole: help, version, and a process of its own."""

import json
import re
import subprocess

import pytest

from lmm_classifier.cli.app import COMMANDS, PANELS
from tests.helpers.command_line import COMMAND, OFFLINE, run, run_process

SUMMARIES = {name: text for commands in PANELS.values() for name, text in commands.items()}


def test_help_lists_every_command_in_its_panel():
    """Each panel has its commands below it, each with one line."""
    text = run("--help").stdout
    assert run("-h").stdout == text
    panels = ("Set up", "Build and edit", "Classify", "Calibrate and evaluate", "Maintain")
    places = [text.index(f"\n{panel}:\n") for panel in panels]
    assert places == sorted(places)
    for panel, commands in PANELS.items():
        section = text[text.index(f"\n{panel}:\n") :].removeprefix(f"\n{panel}:\n").split("\n\n")[0]
        assert re.findall(r"^  (\S+)  +\S", section, flags=re.MULTILINE) == list(commands)
    assert "A setting comes from its flag, then from --set, then from the environment" in " ".join(text.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_a_configuration(command):
    """The common options are the same everywhere; the help begins with the line that the panel shows."""
    text = run(command, "--help").stdout
    assert run(command, "-h").stdout == text
    assert [line.strip() for line in text.splitlines() if line.strip()][1] == SUMMARIES[command]
    for option in ("--config", "--set", "--quiet", "--debug", "-h"):
        assert option in text


ARGUMENTS = {
    **{command: ["x"] for command in ("build", "classify", "discover", "evaluate", "import", "export", "suggest")},
    "add": ["x", "--label", "y"],
    "relabel": ["x", "--to", "y"],
    "export-encoder": ["onnx"],
    "plan": ["--images", "2", "--labels", "1"],
    "chunks": ["verify", "x"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--config", "own.yaml"],
            "own.yaml: unknown key 'retrieval.confidance_threshold': did you mean 'retrieval.conf",
        ),
        (["--set", "retrieval.kk=1"], "unknown key 'retrieval.kk': did you mean 'retrieval.k'?"),
        (["--config", "ofline"], "Did you mean 'offline'?"),
    ],
)
def test_every_command_refuses_an_unknown_setting(command, options, message, tmp_path):
    """Also those that hardly use one, and before anything else is looked at."""
    (tmp_path / "own.yaml").write_text("retrieval:\n  confidance_threshold: 0.5\n")
    done = run(command, *ARGUMENTS.get(command, []), *options, cwd=tmp_path, code=1)
    assert message in done.stderr


def test_wrong_usage_exits_with_2():
    """An unknown command, an unknown flag, a missing argument."""
    assert "frobnicate" in run("frobnicate", code=2).stderr
    assert "--nonsense" in run("info", "--nonsense", code=2).stderr
    run("classify", code=2)


def test_the_installed_command_works_in_a_process_of_its_own(place):
    """With every warning an error, and only results on standard output."""
    assert run_process("--version").stdout.startswith("lmm-classifier 0.")
    done = run_process(
        "classify", "new/stripes/00.png", "--index", "index.npz", "--config", OFFLINE, "--format", "jsonl", cwd=place
    )
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["path"] == "new/stripes/00.png"
    assert "1 images" in done.stderr


@pytest.mark.long
def test_a_closed_pipe_is_no_error(place):
    """`lmm-classifier classify ... | head` ends without a message."""
    command = f"{COMMAND} classify new new new new --index index.npz --config {OFFLINE} --format jsonl | head -c 10"
    done = subprocess.run(["bash", "-c", command], cwd=place, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "error" not in done.stderr
