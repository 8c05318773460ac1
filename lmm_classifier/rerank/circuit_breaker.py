"""A circuit breaker: a server that fails again and again is left alone for a while (Nygard, Release It!, 2007)."""

from __future__ import annotations

import time
from collections.abc import Callable


class Breaker:
    """Opens after `failures` in a row for `seconds`; then lets one request try, and closes when that one succeeds."""

    def __init__(self, failures: int, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._seconds, self._now = failures, seconds, now
        self._failures = 0
        self._until = 0.0
        self._reason = ""
        self._trying = False

    def refusal(self) -> str | None:
        """Say why no request may be made now; None where one may (and, half open, this is the one)."""
        left = self._until - self._now()
        if left > 0:
            return f"the server is left alone for {left:.0f} s more: {self._reason}"
        if self._failures >= self._limit:
            if self._trying:
                return f"the server is being tried again: {self._reason}"
            self._trying = True
        return None

    def succeeded(self) -> None:
        """Close: the server answers."""
        self._failures, self._until, self._trying = 0, 0.0, False

    def failed(self, reason: str) -> None:
        """Count a failure; from the limit on, open."""
        self._failures += 1
        self._trying = False
        self._reason = reason
        if self._failures >= self._limit:
            self._until = max(self._until, self._now() + self._seconds)

    def wait_for(self, seconds: float, reason: str) -> None:
        """Leave the server alone for as long as it asked."""
        self._trying = False
        self._reason = reason
        self._until = max(self._until, self._now() + seconds)

    def gave_up(self) -> None:
        """Forget the request that was trying: it was cancelled, and told nothing about the server."""
        self._trying = False
