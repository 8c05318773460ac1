"""How many images may be inside, and how many bytes they may hold."""

from __future__ import annotations

from threading import Lock
from typing import NoReturn

from lmm_classifier.batching.service_rate import ServiceRate
from lmm_classifier.core.errors import QueueFullError

_UNKNOWN = 1.0  # seconds to retry after where no rate is known


class Admission:
    """Counts the images inside, and refuses one more where there is no room or no time for it.

    Args:
        limit: images inside.
        max_bytes: bytes that they hold together; a larger one is let in alone.
        rate: at which they leave.
    """

    def __init__(self, limit: int, max_bytes: int, rate: ServiceRate) -> None:
        self.limit: int = limit
        self._max_bytes, self._rate = max_bytes, rate
        self.count: int = 0
        self.bytes: int = 0
        self.refused: dict[str, int] = {"images": 0, "bytes": 0, "deadline": 0}
        self._lock = Lock()

    def enter(self, size: int, seconds: float) -> None:
        """Let in an image of `size` bytes that is to be answered in so many seconds, or raise QueueFullError."""
        with self._lock:
            wait = self._rate.wait(self.count)
            if self.count >= self.limit:
                self._refuse("images", f"{self.count} images wait, which is the limit", wait)
            if self.count and self.bytes + size > self._max_bytes:
                self._refuse("bytes", f"the images that wait hold {self.bytes:,} of {self._max_bytes:,} bytes", wait)
            if self.count and wait is not None and wait > seconds:
                reason = (
                    f"{self.count} images wait, about {wait:.1f} s, which is more than its deadline of {seconds:g} s"
                )
                self._refuse("deadline", reason, wait)
            self.count += 1
            self.bytes += size

    def leave(self, size: int) -> None:
        """Let out an image of `size` bytes."""
        with self._lock:
            self.count -= 1
            self.bytes -= size

    def _refuse(self, why: str, reason: str, wait: float | None) -> NoReturn:
        self.refused[why] += 1
        after = _UNKNOWN if wait is None else wait
        raise QueueFullError(
            f"The image was not taken: {reason}. Try again in {after:.1f} s.", after, self.count, self.limit, why
        )
