"""Runs the command `lmm-classifier` as a user types it: in this process, or in one of its own."""

import contextlib
import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from lmm_classifier.cli.app import app
from tests.helpers.paths import ROOT

COMMAND = str(Path(sys.executable).parent / "lmm-classifier")
OFFLINE = str(ROOT / "config" / "offline.yaml")
_ENVIRONMENT = {"COLUMNS": "120"}


@dataclass(frozen=True)
class Done:
    """What a command wrote, and the error that it reported in one line or raised."""

    stdout: str
    stderr: str
    error: BaseException | None = None


def run(*arguments, cwd=None, code=0, stdin=None):
    """Run a command in this process, which takes a fraction of the time; check its exit code."""
    with contextlib.chdir(cwd or Path.cwd()), _logging_restored():
        result = CliRunner().invoke(app, list(map(str, arguments)), stdin, env=_ENVIRONMENT, prog_name="lmm-classifier")
    done = Done(_text(result.stdout_bytes), _text(result.stderr_bytes), result.exception)
    assert result.exit_code == code, (arguments, done.stdout, done.stderr, result.exception)
    return done


def run_process(*arguments, cwd=None, code=0):
    """Run a command in a process of its own, where every warning is an error; check its exit code."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        check=False,
        env={**os.environ, **_ENVIRONMENT, "PYTHONWARNINGS": "error"},
    )
    assert done.returncode == code, (arguments, done.stderr)
    return Done(_text(done.stdout), _text(done.stderr))


def _text(data):
    return data.decode("utf-8", "surrogateescape")


@contextlib.contextmanager
def _logging_restored():
    """Undo what the command configured, so that other tests see all log records."""
    loggers = [logging.getLogger(name) for name in ("lmm_classifier", "py.warnings")]
    before = [(logger.level, list(logger.handlers), logger.propagate) for logger in loggers]
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger, (level, handlers, propagate) in zip(loggers, before):
            for handler in [handler for handler in logger.handlers if handler not in handlers]:
                handler.close()
            logger.setLevel(level)
            logger.handlers[:] = handlers
            logger.propagate = propagate
