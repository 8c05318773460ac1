"""A circuit breaker: a server that fails repeatedly is not asked for a while (Nygard, Release It!, 2007)."""

from __future__ import annotations

import time
from collections.abc import Callable


class CircuitBreaker:
    """Opens for `seconds` after `failures` in a row; then allows one trial request, and closes when that succeeds.

    Args:
        failures: number of consecutive failures that opens it.
        seconds: how long it stays open.
        now: clock in seconds.
    """

    def __init__(self, failures: int, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._seconds, self._now = failures, seconds, now
        self._failures = 0
        self._until = 0.0
        self._reason = ""
        self._testing = False

    @property
    def failures(self) -> int:
        """The number of failures since the last success."""
        return self._failures

    def open_reason(self) -> str | None:
        """Return why no request is allowed now, or None where one is; unlike `blocked` it changes nothing."""
        remaining = self._until - self._now()
        if remaining > 0:
            return f"the server is not asked for another {remaining:.0f} s: {self._reason}"
        if self._failures >= self._limit and self._testing:
            return f"another request is testing the server: {self._reason}"
        return None

    def blocked(self) -> str | None:
        """Return why no request is allowed now, or None where one is; half open, that one is the trial request."""
        reason = self.open_reason()
        if reason is None and self._failures >= self._limit:
            self._testing = True
        return reason

    def succeeded(self) -> None:
        """Close, because the server answered."""
        self._failures, self._until, self._testing = 0, 0.0, False

    def failed(self, reason: str) -> None:
        """Count a failure, and open when the limit is reached."""
        self._failures += 1
        self._testing = False
        self._reason = reason
        if self._failures >= self._limit:
            self._until = max(self._until, self._now() + self._seconds)

    def wait_for(self, seconds: float, reason: str) -> None:
        """Open for `seconds`, because the server cannot be used until it is changed."""
        self._testing = False
        self._reason = reason
        self._until = max(self._until, self._now() + seconds)

    def cancelled(self) -> None:
        """Forget the trial request: it was cancelled and showed nothing about the server."""
        self._testing = False
