"""Reset objects in a forked process: threads, event loops, locks and database connections do not survive a fork."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


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


def _reset_all() -> None:
    for owner in list(_OWNERS):
        owner.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
