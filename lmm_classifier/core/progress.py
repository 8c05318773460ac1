"""What long runs tell: how far they are, what they did, what they left aside and why. Strictly read-only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long run is: pictures dealt with, `total` of them (None if unknown), and how many were skipped."""

    stage: str
    done: int
    total: int | None
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not in the index, and the reason in plain words."""

    path: str
    reason: str
    kind: str  # a short stable name to group by, e.g. "corrupt", "unsupported", "outside"


ProgressCallback = Callable[[Progress], None]
"""Called between two batches of a long run; raise `Cancelled` in it to stop the run there."""
