"""What the writer of an index looks up: single rows where it can, all of them where it must."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.dismissals import Dismissal
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.staleness import FittedTo, named_stale
from lmm_classifier.index.storage import database
from lmm_classifier.index.storage.editing.dismissals import read_dismissals
from lmm_classifier.index.storage.editing.edits import EditRow, count_edits, find_edit, newest_to_undo, read_edits
from lmm_classifier.index.storage.editing.label_totals import read_label_totals
from lmm_classifier.index.storage.editing.purge import referenced_images
from lmm_classifier.index.storage.editing.row_changes import RowChanges, read_row_changes
from lmm_classifier.index.storage.records import (
    KnownFile,
    Record,
    find_records,
    read_known_files,
    read_records,
    read_removed,
)
from lmm_classifier.index.storage.salvage import finish_repair
from lmm_classifier.index.storage.state import CALIBRATED, CALIBRATION, State, read_arrays


class StoredRows:
    """The rows of a durable index, read through an open connection."""

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        self.folder: Path = folder
        self.source: str = str(folder)
        self._connection = connection
        with database.translated(folder):
            self.state: State | None = State.read(connection, self.source)

    def manifest(self) -> Manifest | None:
        """Return the manifest; None before the first build is finished."""
        return None if self.state is None else self.state.checked_manifest(self.source)

    def records(self) -> list[Record]:
        """Return all examples, ascending by id."""
        with database.translated(self.folder):
            return list(read_records(self._connection, self.source))

    def record(self, path: str) -> Record | None:
        """Return the example with this id, None where there is none."""
        return next(iter(self._found("path", path)), None)

    def record_with_content(self, content_hash: str) -> Record | None:
        """Return an example with this content, None where there is none."""
        return next(iter(self._found("hash", content_hash)), None)

    def ids_of_content(self, content_hash: str) -> list[str]:
        """Return the ids of the examples with this content, ascending."""
        return [record.path for record in self._found("hash", content_hash)]

    def records_of_label(self, label: str) -> list[Record]:
        """Return the examples of a label, ascending by id."""
        return self._found("label", label)

    def _found(self, column: str, value: str) -> list[Record]:
        with database.translated(self.folder):
            return find_records(self._connection, self.source, column, value)

    def label_counts(self) -> dict[str, int]:
        """Return the number of examples of each label."""
        with database.translated(self.folder):
            totals = read_label_totals(self._connection, self.source)
            return {label: count for label, (count, _) in sorted(totals.items())}

    def dismissals(self) -> list[Dismissal]:
        """Return the findings that a person dismissed, the oldest first."""
        with database.translated(self.folder):
            return read_dismissals(self._connection, self.source)

    def edit(self, number: int | None = None) -> tuple[EditRow, RowChanges] | None:
        """Return an edit with its rows, by default the newest one to undo; None where there is none."""
        with database.translated(self.folder):
            if number is None:
                row = newest_to_undo(self._connection, self.source)
            else:
                row = find_edit(self._connection, self.source, number)
            if row is None:
                return None
            return (row, read_row_changes(self._connection, self.source, row.id, row.changed))

    def removed(self) -> dict[str, set[str]]:
        """Return the content hashes that a person removed, each with the ids that it had."""
        with database.translated(self.folder):
            return read_removed(self._connection, self.source)

    def known_files(self) -> list[KnownFile]:
        """Return the known files that are not examples (yet)."""
        with database.translated(self.folder):
            return list(read_known_files(self._connection))

    def encoded_hashes(self, encoder: str) -> set[str]:
        """Return the content hashes that have a vector of `encoder`, a `Fingerprint.space_id`."""
        with database.translated(self.folder):
            rows = self._connection.execute("SELECT hash FROM vectors WHERE encoder = ?", (encoder,))
            return {database.decoded(content_hash, self.source) for (content_hash,) in rows}

    def encoded_among(self, encoder: str, hashes: Iterable[str]) -> set[str]:
        """Return those of the content hashes that have a vector of `encoder`."""
        query = "SELECT 1 FROM vectors WHERE encoder = ? AND hash = ?"
        with database.translated(self.folder):
            found = (
                (content_hash, self._connection.execute(query, (encoder, database.encoded(content_hash))).fetchone())
                for content_hash in hashes
            )
            return {content_hash for content_hash, row in found if row is not None}

    def edits(self, limit: int, before: int | None = None) -> list[tuple[EditRow, RowChanges]]:
        """Return the newest edits, or the newest ones before an id, each with its rows."""
        with database.translated(self.folder):
            rows = list(read_edits(self._connection, self.source, limit, before))
            return [(row, read_row_changes(self._connection, self.source, row.id, row.changed)) for row in rows]

    def count_edits(self, before: int | None = None) -> int:
        """Return the number of edits, or of those before an id."""
        with database.translated(self.folder):
            return count_edits(self._connection, before)

    def journal_images(self) -> set[str]:
        """Return the names of the images added by hand to which the journal refers."""
        with database.translated(self.folder):
            return referenced_images(self._connection, self.source)

    def stale_parts(self) -> tuple[str, ...]:
        """Name the parts that were fitted to other examples, without reading all examples; see `staleness`."""
        state, manifest = self.state, self.manifest()
        if state is None or manifest is None:
            return ()
        identity = all(entry.transform == IdentityTransform.name for entry in manifest.encoders)
        fitted = self._fitted_to()
        current = FittedTo(state.contents, state.groups, state.vectors_digest)
        return named_stale(
            transforms=not identity and state.transform_hashes != state.contents,
            calibration=fitted is not None and fitted != current,
            other_vectors=fitted is not None and fitted.vectors != current.vectors,
        )

    def _fitted_to(self) -> FittedTo | None:
        """Return what the calibration was fitted to; None where there is none."""
        with database.translated(self.folder):
            entry = database.get_meta(self._connection, CALIBRATED, self.source)
            if entry is None:
                return FittedTo.of(read_arrays(self._connection, self.source, CALIBRATION))
            values = database.as_json(entry, self.source)
            return FittedTo(**values) if values else None


@contextmanager
def opened_rows(folder: Path) -> Iterator[StoredRows]:
    """Open the rows of one version of the durable index in `folder` for reading."""
    finish_repair(folder)
    with database.reading(folder) as connection:
        yield StoredRows(connection, folder)
