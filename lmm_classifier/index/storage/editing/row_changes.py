"""The rows before and after an edit, and how they are stored in the journal."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.dismissals import Dismissal
from lmm_classifier.index.storage.database import checksum, decoded, encoded
from lmm_classifier.index.storage.records import Record
from lmm_classifier.index.storage.schema import JOURNAL

_EXAMPLE, _REMOVED, _DISMISSAL = "example", "removed", "dismissal"  # values of the column `kind`
Mark = tuple[str, str]  # content hash and id of a removed example


@dataclass(frozen=True)
class Rows:
    """Rows that an edit changes, as they are on one side of it."""

    examples: tuple[Record, ...] = ()
    removed: tuple[Mark, ...] = ()
    dismissals: tuple[Dismissal, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.examples or self.removed or self.dismissals)


@dataclass(frozen=True)
class RowChanges:
    """Rows of one edit: those that it took away or changed, and those in their place."""

    before: Rows
    after: Rows

    def __bool__(self) -> bool:
        return bool(self.before or self.after)


def put_row_changes(connection: sqlite3.Connection, edit: int, changes: RowChanges) -> int:
    """Write the rows of an edit; return their number."""
    sides = [(0, row) for row in _stored(changes.before)] + [(1, row) for row in _stored(changes.after)]
    rows = [(edit, number, after, *row) for number, (after, row) in enumerate(sides)]
    connection.executemany(JOURNAL.replace, [(*row, checksum(*row)) for row in rows])
    return len(rows)


def read_row_changes(connection: sqlite3.Connection, source: str, edit: int, count: int) -> RowChanges:
    """Read the `count` rows of an edit; raise IndexFileError where one is damaged or missing."""
    sides: tuple[list[Any], list[Any]] = [], []
    rows = connection.execute(f"{JOURNAL.select} WHERE edit = ? ORDER BY number", (edit,)).fetchall()
    try:
        if len(rows) != count:
            raise ValueError(f"{len(rows)} of {count} rows")
        for *row, crc in rows:
            if checksum(*row) != crc:
                raise ValueError("a wrong checksum")
            sides[bool(row[2])].append(_restored(row[3], row[4], row[5], row[6], source))
    except (ValueError, TypeError) as error:
        raise IndexFileError(
            f"{source}: the journal of edit {edit} is damaged: {error}. `lmm-classifier doctor` can repair the index."
        ) from None
    return RowChanges(_rows(sides[0]), _rows(sides[1]))


def _stored(rows: Rows) -> Iterator[tuple[str, bytes, bytes, str]]:
    """Yield kind, path, hash and other fields of each row; JSON keeps lone surrogates."""
    for record in rows.examples:
        fields = json.dumps([record.label, record.size, record.stamp, record.added, record.provenance])
        yield _EXAMPLE, encoded(record.path), encoded(record.content_hash), fields
    for content_hash, path in rows.removed:
        yield _REMOVED, encoded(path), encoded(content_hash), ""
    for dismissal in rows.dismissals:
        yield _DISMISSAL, b"", b"", dismissal.to_json()


def _restored(kind: str, path: bytes, content_hash: bytes, fields: str, source: str) -> Record | Mark | Dismissal:
    if kind == _EXAMPLE:
        label, size, stamp, added, provenance = json.loads(fields)
        return Record(decoded(path, source), label, decoded(content_hash, source), size, stamp, added, provenance)
    if kind == _REMOVED:
        return decoded(content_hash, source), decoded(path, source)
    if kind == _DISMISSAL:
        return Dismissal.from_json(fields)
    raise ValueError(f"a row of the kind {kind!r}")


def _rows(restored: list[Record | Mark | Dismissal]) -> Rows:
    return Rows(
        tuple(row for row in restored if isinstance(row, Record)),
        tuple(row for row in restored if isinstance(row, tuple)),
        tuple(row for row in restored if isinstance(row, Dismissal)),
    )
