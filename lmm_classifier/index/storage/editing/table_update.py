"""The table of examples of a version, from that of a former version and the edits in between."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.storage.columns import Labels
from lmm_classifier.index.storage.database import encoded
from lmm_classifier.index.storage.editing.edits import find_edit
from lmm_classifier.index.storage.editing.row_changes import read_row_changes
from lmm_classifier.index.storage.npz import require_inside
from lmm_classifier.index.storage.records import Record, digest_of, find_records
from lmm_classifier.index.storage.snapshot import Stamp
from lmm_classifier.index.storage.table import Table

_MOST = 2000  # changed rows; all rows of a large index are read in the time that many more would take


def updated_table(
    connection: sqlite3.Connection,
    source: str,
    former: Table,
    former_stamp: Stamp,
    stamp: Stamp,
    has_images: bool = True,
) -> Table | None:
    """Return the table of a version without reading the rows that did not change since a former one.

    Args:
        connection: to the database of that version.
        source: of the index, for messages.
        former: the former table.
        former_stamp: of the former table.
        stamp: of the version.
        has_images: whether ids name files of a dataset, which they must not lead out of.

    Returns:
        None where the journal does not name every change: the digest of the examples tells that.

    Raises:
        IndexFileError: a row that changed is damaged.
    """
    paths = _changed_paths(connection, source, range(former_stamp.edits + 1, stamp.edits + 1))
    if paths is None or former_stamp.index != stamp.index:
        return None
    table, digest = _Lists(list(former.labels), list(former.paths), list(former.hashes)), former_stamp.digest
    for path in paths:
        digest -= table.take(path)
        for record in find_records(connection, source, "path", path):
            require_inside([path], source, has_images)
            table.put(record)
            digest += record.digest
    if digest % 2**64 != stamp.digest:
        return None
    return Table(Labels.of(table.labels), table.paths, table.hashes)


class _Lists(NamedTuple):
    """Columns of the table, ascending by path."""

    labels: list[str]
    paths: list[str]
    hashes: list[str]

    def take(self, path: str) -> int:
        """Take a row away; return its digest, 0 where there is none."""
        place = bisect_left(self.paths, path)
        if self.paths[place : place + 1] != [path]:
            return 0
        del self.paths[place]
        return digest_of(encoded(path), encoded(self.labels.pop(place)), encoded(self.hashes.pop(place)))

    def put(self, record: Record) -> None:
        """Insert a row that is not there."""
        place = bisect_left(self.paths, record.path)
        self.paths.insert(place, record.path)
        self.labels.insert(place, record.label)
        self.hashes.insert(place, record.content_hash)


def _changed_paths(connection: sqlite3.Connection, source: str, edits: Iterable[int]) -> set[str] | None:
    """Return the ids of the examples that some edits changed; None where they are not known, or too many."""
    paths = set[str]()
    with suppress(IndexFileError):  # a damaged journal is no reason not to read the examples
        for number in edits:
            edit = find_edit(connection, source, number)
            if edit is None or edit.changed > _MOST:
                return None
            changes = read_row_changes(connection, source, number, edit.changed)
            paths |= {record.path for side in (changes.before, changes.after) for record in side.examples}
            if len(paths) > _MOST:
                return None
        return paths
    return None
