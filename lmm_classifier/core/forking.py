"""Reset objects in a forked process: threads, event loops, locks and database connections do not survive a fork."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from types import TracebackType
from typing import Any, Protocol


class ResetAfterFork(Protocol):
    """An object with state that a forked process cannot use."""

    def reset_after_fork(self) -> None:
        """Forget that state without closing it, because the parent process still uses what is behind it."""


_OWNERS: weakref.WeakSet[ResetAfterFork] = weakref.WeakSet()
_LEFT_TO_THE_PARENT: list[object] = []  # never destroyed in the child, where that would disturb the parent


def register_for_reset(owner: ResetAfterFork) -> None:
    """Call `owner.reset_after_fork()` in each process that is forked while `owner` exists."""
    _OWNERS.add(owner)


def leave_to_parent(resource: object) -> None:
    """Keep what the parent process owns, such as a connection, from being closed by this process."""
    _LEFT_TO_THE_PARENT.append(resource)


class ForkSafeLock:
    """A lock that is free in a forked process, whoever held it in the parent; a copy by pickle is another, free lock.

    Args:
        make: what kind of lock.
    """

    def __init__(self, make: Callable[[], Any] = Lock) -> None:
        self._make = make
        self._lock = make()
        register_for_reset(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(RuntimeError):  # a fork inside the `with` block made a new lock
            self._lock.release()

    def __reduce__(self) -> tuple[type[ForkSafeLock], tuple[Callable[[], Any]]]:
        return type(self), (self._make,)

    def reset_after_fork(self) -> None:
        """Make a new lock."""
        self._lock = self._make()


def _reset_all() -> None:
    for owner in list(_OWNERS):
        owner.reset_after_fork()
    if (torch := sys.modules.get("torch")) is not None and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)  # its other threads are those of the parent: it would wait for them for ever


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
