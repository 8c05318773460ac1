"""What a build, a sync or an edit did. Strictly read-only."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from lmm_classifier.core.progress import Skipped


@dataclass(frozen=True, slots=True)
class Changes:
    """What became of the examples of an index, by their ids; `renamed` and `relabelled` give before and after."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()  # another picture under the same name
    renamed: tuple[tuple[str, str], ...] = ()  # the same picture under another name
    relabelled: tuple[tuple[str, str, str], ...] = ()  # id now, label before, label now
    unchanged: int = 0
    left_out: tuple[str, ...] = ()  # taken out by hand before, so they stay out
    encoded: int = 0  # pictures that went through the encoder; the others had their vectors already

    @property
    def any(self) -> bool:
        """Whether the examples are others than before."""
        return bool(self.added or self.removed or self.replaced or self.renamed or self.relabelled)


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build or a sync did: what is in the index is under `indexed`, what was found besides under `skipped`."""

    image_root: str
    output_path: str
    encoder: str
    indexed: dict[str, int]  # label -> pictures
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)  # stage -> seconds
    changes: Changes | None = None  # against what the index was before; None for a `.npz` file
    stale: tuple[str, ...] = ()  # what was fitted to other examples, and how to fit it again

    @property
    def total(self) -> int:
        """Pictures in the index."""
        return sum(self.indexed.values())

    @property
    def failed(self) -> tuple[Skipped, ...]:
        """Skipped files that were meant to be pictures (files of another kind are `ignored`)."""
        return tuple(skipped for skipped in self.skipped if skipped.kind != "ignored")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**asdict(self), "total": self.total}


@dataclass(frozen=True, slots=True)
class EditReport:
    """What an edit did. `skipped` was not done, and why; `stale` says what was fitted to other examples."""

    changes: Changes
    pictures: int  # in the index now
    skipped: tuple[Skipped, ...] = ()
    stale: tuple[str, ...] = ()
