"""A sum of processor time and memory, with the reason of its largest part."""

from __future__ import annotations


class CostEstimate:
    """What decoding a file costs: seconds of one core, and bytes of memory at the peak.

    Args:
        max_seconds: the limit; a reader of the structure stops when it is exceeded.
        memory: bytes that are in memory already.
    """

    def __init__(self, max_seconds: float, memory: int = 0) -> None:
        self.max_seconds: float = max_seconds
        self.memory: int = memory
        self.seconds: float = 0.0
        self.size: tuple[int, int] | None = None  # width and height in pixels, where the header could be read
        self._largest, self._reason = 0.0, "its structure"
        self._numbers: tuple[int, ...] = ()

    def add(self, seconds: float, reason: str, *numbers: int) -> None:
        """Add processor time; `reason`, a format for `numbers`, says what takes it."""
        self.seconds += seconds
        if seconds > self._largest:
            self._largest, self._reason, self._numbers = seconds, reason, numbers

    @property
    def main_reason(self) -> str:
        """Return what takes most of the time."""
        return self._reason.format(*self._numbers)

    @property
    def exceeded(self) -> bool:
        """Return whether the time is above the limit."""
        return self.seconds > self.max_seconds
