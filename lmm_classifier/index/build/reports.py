"""Reports of a build, a sync and an edit; they are read-only."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from lmm_classifier.core.progress import Skipped


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of the examples of an index, by their ids."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()  # another image under the same name
    renamed: tuple[tuple[str, str], ...] = ()  # former id, current id of the same image
    relabeled: tuple[tuple[str, str, str], ...] = ()  # current id, former label, current label
    unchanged: int = 0
    left_out: tuple[str, ...] = ()  # removed by hand before, so not added again
    encoded: int = 0  # images that the encoder processed; the other images had their vectors already

    @property
    def any(self) -> bool:
        """Return whether any example changed."""
        return bool(self.added or self.removed or self.replaced or self.renamed or self.relabeled)


@dataclass(frozen=True, slots=True)
class BuildReport:
    """Report of a build or a sync.

    Example:
        >>> from lmm_classifier import PipelineConfig, build_index_from_directory
        >>> report = build_index_from_directory("images", "report.npz", config=PipelineConfig.offline())
        >>> sorted(report.indexed)
        ['gingham', 'herringbone', 'polka_dots', 'stripes']
        >>> report.total == sum(report.indexed.values())
        True
        >>> report.failed
        ()
    """

    image_root: str
    output_path: str
    encoders: tuple[str, ...]  # in words
    indexed: dict[str, int]  # label -> number of images in the index
    skipped: tuple[Skipped, ...] = ()  # files that are not in the index, with reasons
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)  # stage -> seconds
    changes: Changes | None = None  # compared with the former index; None for an `.npz` file
    stale: tuple[str, ...] = ()  # parts that were fitted to other examples, with what to do
    encoded_by: tuple[str, ...] = ()  # short names of the encoders that encoded; the others had all vectors already

    @property
    def total(self) -> int:
        """Return the number of images in the index."""
        return sum(self.indexed.values())

    @property
    def failed(self) -> tuple[Skipped, ...]:
        """Return the skipped files that should be images, without other files and those of this program."""
        return tuple(skipped for skipped in self.skipped if skipped.failed)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {**asdict(self), "total": self.total}


@dataclass(frozen=True, slots=True)
class EditReport:
    """Report of an edit.

    Example:
        >>> from lmm_classifier import IndexEditor, PipelineConfig, build_index_from_directory
        >>> config = PipelineConfig.offline()
        >>> total = build_index_from_directory("images", "report-index", config=config).total
        >>> report = IndexEditor("report-index", config).remove(["stripes/no_such_image.png"])
        >>> report.images == total, report.changes.any
        (True, False)
        >>> [(skipped.path, skipped.kind) for skipped in report.skipped]
        [('stripes/no_such_image.png', 'not_there')]
    """

    changes: Changes
    images: int  # number of images in the index
    skipped: tuple[Skipped, ...] = ()  # images that were not edited, with reasons
    stale: tuple[str, ...] = ()  # parts that were fitted to other examples, with what to do
