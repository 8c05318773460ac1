"""Reports of a build, a sync and an edit; they are read-only."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from lmm_classifier.core.progress import Skipped
from lmm_classifier.html.fragment import fragment, skipped_section, table_section
from lmm_classifier.index.storage.editing.edits import EditRow
from lmm_classifier.index.storage.editing.row_changes import RowChanges
from lmm_classifier.index.storage.records import Record


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
    dismissed: int = 0  # findings of an audit that were dismissed
    restored: int = 0  # dismissals that were taken back

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
    edit: int | None = None  # id of the edit in the journal; None where no example changed

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

    def _repr_html_(self) -> str:
        """Return counts, labels and skipped files, for a notebook."""
        encoded = self.total if self.changes is None else self.changes.encoded
        figures = [
            ("images", str(self.total)),
            ("labels", str(len(self.indexed))),
            ("encoded now", str(encoded)),
            ("seconds", f"{self.seconds:.1f}"),
            *(_change_figures(self.changes) if self.changes else ()),
        ]
        labels = [[label, str(count)] for label, count in self.indexed.items()]
        sections = [table_section("labels", "Labels", ["label", "images"], labels), skipped_section(self.skipped)]
        return fragment(f"Index {self.output_path}", figures, sections, [*self.warnings, *self.stale])


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
    edit: int | None = None  # id of the edit in the journal; None where nothing changed

    def _repr_html_(self) -> str:
        """Return what changed, for a notebook."""
        figures = [("images", str(self.images)), *_change_figures(self.changes)]
        title = "No change" if self.edit is None else f"Edit {self.edit}"
        return fragment(title, figures, [skipped_section(self.skipped, "Not edited")], self.stale)


@dataclass(frozen=True, slots=True)
class Edit:
    """An edit in the journal of an index.

    Example:
        >>> from lmm_classifier import IndexEditor, PipelineConfig, build_index_from_directory
        >>> config = PipelineConfig.offline()
        >>> report = build_index_from_directory("images", "journal-index", config=config)
        >>> editor = IndexEditor("journal-index", config)
        >>> number = editor.rename_label("stripes", "lines", note="as the catalog says").edit
        >>> edit = editor.edits()[0]
        >>> edit.id == number, edit.kind, edit.note, edit.undone_by
        (True, 'rename_label', 'as the catalog says', None)
        >>> len(editor.undo(number).changes.relabeled) == len(edit.changes.relabeled)
        True
        >>> editor.edits()[1].undone_by == editor.edits()[0].id
        True
    """

    id: int  # ascending; none is given twice
    time: datetime  # UTC
    kind: str  # such as `add`, `relabel`, `sync`, `undo`, or `redo`, which undoes an undo
    origin: str  # who or what made it, as its caller said
    note: str
    changes: Changes
    undone_by: int | None  # id of the edit that undid it
    undoes: int | None  # id of the edit that it undid

    @classmethod
    def of(cls, row: EditRow, rows: RowChanges) -> Edit:
        """Return a row of the table of edits with the changes that its rows in the journal show."""
        changes = changes_of(rows, row.images)
        time = datetime.fromisoformat(row.time)
        return cls(row.id, time, row.kind, row.origin, row.note, changes, row.undone_by or None, row.undoes or None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {**asdict(self), "time": self.time.isoformat()}


def _change_figures(changes: Changes) -> list[tuple[str, str]]:
    """Return the kinds of changes that occurred with their numbers; unchanged examples are always counted."""
    kinds = ("added", "removed", "replaced", "renamed", "relabeled")
    figures = [(kind, str(len(getattr(changes, kind)))) for kind in kinds if getattr(changes, kind)]
    counts = (("dismissed", changes.dismissed), ("restored", changes.restored))
    figures += [(f"{name} findings", str(count)) for name, count in counts if count]
    return [*figures, ("unchanged", str(changes.unchanged))]


def changes_of(rows: RowChanges, images: int) -> Changes:
    """Return the changes that these rows make; `images` is the number of examples afterwards."""
    before, after = ({record.path: record for record in side.examples} for side in (rows.before, rows.after))
    gone: dict[str, list[Record]] = defaultdict(list)
    for record in before.values():
        if record.path not in after:
            gone[record.content_hash].append(record)
    pairs = {path: before[path] for path in after if path in before}
    for path, record in after.items():
        if path not in before and gone[record.content_hash]:
            pairs[path] = gone[record.content_hash].pop(0)  # the same image under another id
    replaced = {path for path, former in pairs.items() if former.content_hash != after[path].content_hash}
    return Changes(
        added=tuple(path for path in after if path not in pairs),
        removed=tuple(record.path for records in gone.values() for record in records),
        replaced=tuple(path for path in after if path in replaced),
        renamed=tuple((former.path, path) for path, former in pairs.items() if former.path != path),
        relabeled=tuple(
            (path, former.label, after[path].label)
            for path, former in pairs.items()
            if former.label != after[path].label
        ),
        unchanged=images - len(after),
        dismissed=len(rows.after.dismissals),
        restored=len(rows.before.dismissals),
    )
