"""Reports of long runs: how far they are, and which files they skipped and why. Strictly read-only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long run is.

    Example:
        >>> from lmm_classifier import Progress
        >>> progress = Progress("encoding", done=640, total=1000, skipped=2)
        >>> f"{progress.stage}: {progress.done} of {progress.total} images, {progress.skipped} skipped"
        'encoding: 640 of 1000 images, 2 skipped'
    """

    stage: str
    """Name of the current step."""
    done: int
    """Images that are finished, skipped ones included; for a check of an index, its parts."""
    total: int | None
    """Images of the whole step; None where the number is unknown."""
    skipped: int = 0
    """Images that could not be used."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not in the index, with the reason in plain words."""

    path: str
    """Path relative to the dataset root."""
    reason: str
    """Why it is not in the index."""
    kind: str
    """Short stable name to group by, such as "corrupt", "unsupported" or "outside"."""


ProgressCallback = Callable[[Progress], None]
"""Called between two batches of a long run; raise `Cancelled` in it to stop the run there."""
