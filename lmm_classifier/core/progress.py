"""Reports of long runs: how far they are, and which files they skipped and why. Strictly read-only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace


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
    """Images that are finished, skipped ones included; for a check of an index its parts, for a search of copies its
    pairs."""
    total: int | None
    """Images of the whole step; None where the number is unknown."""
    skipped: int = 0
    """Images that could not be used."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was not used, with the reason in plain words."""

    path: str
    """Path relative to the dataset root, or to the folder that was searched."""
    reason: str
    """Why it was not used."""
    kind: str
    """Short stable name to group by, such as "corrupt", "unsupported" or "outside"."""

    @property
    def failed(self) -> bool:
        """Return whether this should have been an image; other files, and those of this program, are passed over."""
        return self.kind not in ("ignored", "own_files")


def describe_skipped(files: Sequence[Skipped]) -> str:
    """Return how many files were skipped, by their kinds, such as "3 files skipped: 2 outside, 1 ignored"."""
    kinds = Counter(file.kind for file in files)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return f"{len(files)} file{'s' if len(files) != 1 else ''} skipped: {counts}"


ProgressCallback = Callable[[Progress], None]
"""Called between two batches of a long run; raise `Cancelled` in it to stop the run there."""

ProgressOption = ProgressCallback | bool
"""What a long run takes: True shows its progress, a function is called with it."""


def part_of(progress: ProgressCallback | None, part: int, parts: int) -> ProgressCallback | None:
    """Return a callback for one of several parts of a step, which are equally long; its images count once."""
    if progress is None or parts == 1:
        return progress

    def report(of_part: Progress) -> None:
        done = of_part.done if of_part.total is None else (part * of_part.total + of_part.done) // parts
        progress(replace(of_part, done=done))

    return report
