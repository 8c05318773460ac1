"""An error is one line on standard error and an exit code; with --debug it is a traceback."""

import pytest
import typer

from lmm_classifier.cli.error_handling import exit_on_error
from lmm_classifier.core.errors import DatasetError, EncoderError, LmmClassifierError
from tests.helpers.command_line import OFFLINE, run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "nowhere", "--config", OFFLINE], "nowhere"),
        (["classify", "new", "--index", "missing.npz", "--config", OFFLINE], "There is no index at missing.npz"),
        (["classify", "new", "--config", "missing.yaml"], "Cannot read the configuration missing.yaml"),
        (["classify", "new", "--set", "retrieval.kk=1"], "did you mean 'retrieval.k'"),
        (["classify", "new", "--set", "retrieval"], "Expected KEY=VALUE"),
        (["info", "dataset"], "is not an index"),
        (["info", "index.npz", "--set", "nonsense=1"], "unknown key 'nonsense'"),
        (["demo", "--output", "dataset"], "Choose another folder"),
    ],
)
def test_an_error_is_one_line(place, arguments, message):
    """It says what was expected and what to do; the exit code is 1."""
    done = run(*arguments, cwd=place, code=1)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in done.stderr
    assert isinstance(run(*arguments, "--debug", cwd=place, code=1).error, LmmClassifierError)


def test_a_preset_that_the_library_names_is_an_option(capsys):
    """Any preset; other words stay."""
    with pytest.raises(typer.Exit), exit_on_error(debug=False):
        raise EncoderError("take another (the preset lite, or the preset offline); the preset nowhere")
    assert "(--config lite, or --config offline); the preset nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "build",
        "sync",
        "add",
        "remove",
        "relabel",
        "import",
        "export",
        "export-encoder",
        "quantize-encoder",
        "classify",
        "calibrate",
        "evaluate",
        "audit",
        "report",
        "info",
        "doctor",
        "demo",
    ],
)
def test_every_command_refuses_an_unknown_setting(place, command):
    """Also a command that needs no setting: a wrong one would otherwise go unnoticed."""
    arguments = {
        "build": ["dataset"], "add": ["new", "--label", "x"], "relabel": ["--to", "x"], "import": ["index.npz"],
        "export-encoder": ["onnx"], "classify": ["new"], "evaluate": ["new"], "demo": ["--output", "never"],
    }.get(command, [])  # fmt: skip
    done = run(command, *arguments, "--set", "nonsense=1", cwd=place, code=1)
    assert done.stderr.startswith("error: unknown key 'nonsense'")
    assert not (place / "never").exists()


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DatasetError("no\nimage"), 1, "error: no\\nimage\n"),
        (OSError("disk full"), 1, "error: disk full\n"),
        (ZeroDivisionError("odd"), 1, "error: unexpected ZeroDivisionError: odd"),
        (KeyboardInterrupt(), 130, ""),
        (typer.Exit(3), 3, ""),
    ],
)
def test_every_error_has_its_exit_code(capsys, error, code, message):
    """An unexpected one asks for the traceback; an interruption needs no message."""
    with pytest.raises(typer.Exit) as caught, exit_on_error(debug=False):
        raise error
    assert caught.value.exit_code == code
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize("error", [DatasetError("x"), ZeroDivisionError("x"), KeyboardInterrupt()])
def test_debug_lets_the_traceback_through(error):
    """The error itself reaches the interpreter."""
    with pytest.raises(type(error)), exit_on_error(debug=True):
        raise error
