"""Ctrl-C and the signals that end a program: one line says what is there, and temporary files are removed."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
SIGNALS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


class Interrupted(KeyboardInterrupt):
    """A signal asks the program to end. It is raised in the main thread, so that everything open is closed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code: int = 128 + number


@contextmanager
def signals_raised() -> Iterator[None]:
    """Raise Interrupted on the first signal that asks to end; a second one ends the program at once.

    A signal that the caller of the program ignores, as `nohup` does, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.getsignal(number) for number in SIGNALS}
    caught = [number for number, handler in former.items() if handler is not signal.SIG_IGN]

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature is that of a handler
        for each in caught:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(number)

    try:
        for number in caught:
            signal.signal(number, stop)
        yield
    finally:
        for number in caught:
            signal.signal(number, former[number])


@contextmanager
def told_if_interrupted(line: Callable[[], str]) -> Iterator[None]:
    """Print a line if the block is interrupted: what is there, and how to continue."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        if not getattr(interruption, "told", False):
            after_echo = "\n" if sys.stderr.isatty() else ""  # a terminal shows ^C on the line
            sys.stderr.write(f"{after_echo}{line()}\n")
            interruption.told = True  # type: ignore[attr-defined]
        raise


def exit_code_of(interruption: KeyboardInterrupt) -> int:
    """Return the exit code for an interruption, as a shell has it: 128 and the number of the signal."""
    return getattr(interruption, "exit_code", 128 + signal.SIGINT)
