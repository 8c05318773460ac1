"""Turns errors into one clear line and an exit code."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def exit_on_error(debug: bool) -> Iterator[None]:
    """Print an error as one line and exit with 1; with `debug` let the traceback through.

    A signal that asks the program to end becomes one line and its exit code: 130 for Ctrl-C, 143 for SIGTERM.
    """
    from lmm_classifier.cli.interruption import exit_code_of, signals_raised, told_if_interrupted
    from lmm_classifier.core.errors import LmmClassifierError

    try:
        with signals_raised(), told_if_interrupted(lambda: "Interrupted. Files that were not complete are removed."):
            yield
    except (LmmClassifierError, OSError) as error:
        if debug:
            raise
        if isinstance(error, BrokenPipeError):  # the reader of the output has closed it: nobody reads a message
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        from lmm_classifier.cli.console import print_error

        print_error(_with_options(str(error)))
        raise typer.Exit(1) from None
    except KeyboardInterrupt as interruption:
        if debug:
            raise
        raise typer.Exit(exit_code_of(interruption)) from None
    except (typer.Exit, typer.BadParameter):
        raise
    except Exception as error:
        if debug:
            raise
        from lmm_classifier.cli.console import print_error

        print_error(f"unexpected {type(error).__name__}: {error} (run again with --debug for the traceback)")
        raise typer.Exit(1) from None


def _with_options(message: str) -> str:
    """Return a message of the library with the option that names a preset."""
    from lmm_classifier.config import preset_names

    return re.sub(rf"\bthe preset ({'|'.join(preset_names())})\b", r"--config \1", message)
