"""Whether a command is quiet: with `--quiet` only results and errors are written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_quiet = ContextVar("_quiet", default=False)


@contextmanager
def quiet_if(wanted: bool) -> Iterator[None]:
    """Make the commands that run in this block quiet, if `wanted`."""
    token = _quiet.set(wanted)
    try:
        yield
    finally:
        _quiet.reset(token)


def is_quiet() -> bool:
    """Return whether progress, summaries and warnings are unwanted."""
    return _quiet.get()


def write_note(text: str) -> None:
    """Write a line about the run to standard error, unless the command is quiet."""
    if not is_quiet():
        sys.stderr.write(f"{text}\n")
