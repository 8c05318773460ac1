"""How fast a queue answers: a moving average of the seconds that an image takes."""

from __future__ import annotations

from threading import Lock

_KEPT = 0.9  # weight of what was known before, after one more image


class ServiceRate:
    """The rate at which images are answered while some wait; time without any does not count."""

    def __init__(self) -> None:
        self._seconds: float | None = None  # per image; None before the first
        self._last = 0.0  # when the last images were answered
        self._lock = Lock()

    def measure(self, count: int, entered: float, answered: float) -> None:
        """Take `count` images that were answered together; the first of them entered the queue at `entered`."""
        with self._lock:
            seconds = max(answered - max(entered, self._last), 0.0) / count
            self._last = answered
            kept = _KEPT**count
            self._seconds = seconds if self._seconds is None else kept * self._seconds + (1 - kept) * seconds

    def wait(self, count: int) -> float | None:
        """Return the seconds until `count` images are answered; None where nothing is known yet."""
        return None if self._seconds is None else self._seconds * count

    @property
    def per_second(self) -> float | None:
        """Return the images answered in a second; None where nothing is known yet."""
        return 1 / self._seconds if self._seconds else None
