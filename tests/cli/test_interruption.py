"""A signal that asks the program to end becomes one line and an exit code; temporary files are removed."""

import os
import signal
import subprocess
import sys

import pytest
import typer

from lmm_classifier.cli.error_handling import exit_on_error
from lmm_classifier.cli.interruption import Interrupted, exit_code_of, signals_raised, told_if_interrupted
from lmm_classifier.core.files import atomic_write


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_every_command_ends_with_one_line(tmp_path, capsys, name, code):
    """Whatever it was writing is removed, and the handlers of the caller are back."""
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with pytest.raises(typer.Exit) as caught, exit_on_error(debug=False), atomic_write(tmp_path / "page.html") as path:
        path.write_text("half")
        os.kill(os.getpid(), number)
    assert caught.value.exit_code == code
    assert capsys.readouterr().err == "Interrupted. Files that were not complete are removed.\n"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(number) == before


def test_only_the_innermost_line_is_printed(capsys):
    """The part that knows most says what is there."""
    with pytest.raises(KeyboardInterrupt), told_if_interrupted(lambda: "outer"), told_if_interrupted(lambda: "inner"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "inner\n"
    assert (exit_code_of(KeyboardInterrupt()), exit_code_of(Interrupted(signal.SIGTERM))) == (130, 143)


def test_an_ignored_signal_stays_ignored():
    """`nohup` ignores the end of the terminal for the program."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_raised():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)


def test_a_second_signal_ends_the_program_at_once():
    """Where closing takes long, a person need not wait."""
    code = (
        "import os, signal\n"
        "from lmm_classifier.cli.interruption import signals_raised\n"
        "with signals_raised():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    finally:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")
