"""Changes of the examples in one commit, and how they change the tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lmm_classifier.core.protocols import Transform
from lmm_classifier.index.dismissals import Dismissal
from lmm_classifier.index.storage.database import decoded, encoded
from lmm_classifier.index.storage.editing.dismissals import drop_dismissals, find_dismissal, put_dismissals
from lmm_classifier.index.storage.editing.label_totals import update_label_totals
from lmm_classifier.index.storage.editing.row_changes import Mark, RowChanges, Rows
from lmm_classifier.index.storage.records import (
    Record,
    content_digest,
    find_records,
    put_records,
    put_removed,
)


@dataclass(frozen=True)
class Change:
    """Changes of the examples in one commit."""

    put: Sequence[Record]  # new examples, and those that replace the ones with the same ids
    drop: Sequence[str] = ()  # ids
    transforms: Sequence[Transform] | None = None  # of each encoder; None leaves the stored ones
    removed: Sequence[Mark] = ()  # content hash and id of examples that `sync` must not add again
    readmitted: Sequence[str] = ()  # removed content hashes that may be added again
    unmarked: Sequence[Mark] = ()  # single marks of `removed` to take back
    dismissed: Sequence[Dismissal] = ()
    restored: Sequence[Dismissal] = ()  # dismissals to take back
    tidy: bool = False  # delete vectors without an example, and known files that became examples


@dataclass(frozen=True)
class Applied:
    """What a change did to the tables, and by how much it changes the numbers of the state."""

    rows: RowChanges
    vanished: tuple[str, ...]  # ids that are no examples any more
    count: int
    digest: int
    contents: int
    groups: int


def apply_change(connection: sqlite3.Connection, source: str, change: Change) -> Applied:
    """Change the tables; the caller has begun a transaction."""
    paths = dict.fromkeys([*change.drop, *(record.path for record in change.put)])
    former = {record.path: record for path in paths for record in find_records(connection, source, "path", path)}
    connection.executemany("DELETE FROM examples WHERE path = ?", [(encoded(path),) for path in change.drop])
    put_records(connection, change.put)
    current = {record.path: record for record in change.put}
    groups = update_label_totals(connection, source, former.values(), current.values())
    marks = _change_marks(connection, source, change)
    dismissals = _change_dismissals(connection, source, change)
    before = [record for path, record in former.items() if not _is_same(record, current.get(path))]
    after = [record for path, record in current.items() if not _is_same(record, former.get(path))]
    return Applied(
        RowChanges(Rows(tuple(before), marks[0], dismissals[0]), Rows(tuple(after), marks[1], dismissals[1])),
        vanished=tuple(path for path in former if path not in current),
        count=len(current) - len(former),
        digest=_sum(record.digest for record in current.values()) - _sum(record.digest for record in former.values()),
        contents=_sum(content_digest(r.content_hash) for r in current.values())
        - _sum(content_digest(r.content_hash) for r in former.values()),
        groups=groups,
    )


def _sum(numbers: Iterable[int]) -> int:
    return sum(numbers)


def _is_same(record: Record, other: Record | None) -> bool:
    """Return whether nothing but the size and the times of the file differ."""
    return other is not None and replace(record, size=other.size, stamp=other.stamp) == other


def _change_marks(connection: sqlite3.Connection, source: str, change: Change) -> tuple[tuple[Mark, ...], ...]:
    """Return the marks that were taken back, and the new ones."""
    former = {mark for content_hash in change.readmitted for mark in _marks(connection, source, content_hash)}
    former |= {mark for mark in change.unmarked if mark in _marks(connection, source, mark[0])}
    new = [mark for mark in dict.fromkeys(change.removed) if mark not in _marks(connection, source, mark[0])]
    put_removed(connection, new)
    connection.executemany(
        "DELETE FROM removed WHERE hash = ? AND path = ?",
        [(encoded(content_hash), encoded(path)) for content_hash, path in former],
    )
    return tuple(sorted(former)), tuple(mark for mark in new if mark not in former)


def _marks(connection: sqlite3.Connection, source: str, content_hash: str) -> set[Mark]:
    rows = connection.execute("SELECT path FROM removed WHERE hash = ?", (encoded(content_hash),))
    return {(content_hash, decoded(path, source)) for (path,) in rows}


def _change_dismissals(
    connection: sqlite3.Connection, source: str, change: Change
) -> tuple[tuple[Dismissal, ...], ...]:
    """Return the dismissals that were taken back, and the new ones."""
    stored = [find_dismissal(connection, source, dismissal.id) for dismissal in change.restored]
    former = [dismissal for dismissal in stored if dismissal is not None]
    drop_dismissals(connection, former)
    new = {d.id: d for d in change.dismissed if find_dismissal(connection, source, d.id) is None}
    put_dismissals(connection, new.values())
    return tuple(former), tuple(new.values())
