"""The clock of a queue; a test may stop it."""

from __future__ import annotations

import time
from threading import TIMEOUT_MAX, Condition


class Clock:
    """Seconds since some moment, and waiting until another."""

    def now(self) -> float:
        """Return the time in seconds."""
        return time.monotonic()

    def wait(self, condition: Condition, seconds: float | None) -> None:
        """Wait until `condition`, which is held, is notified, at most so many seconds; None: for ever."""
        condition.wait(None if seconds is None else min(seconds, TIMEOUT_MAX))
