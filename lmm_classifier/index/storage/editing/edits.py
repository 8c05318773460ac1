"""The table of edits: when, what kind, by whom, and which edit undid which."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.storage.database import checksum, decoded, encoded
from lmm_classifier.index.storage.schema import EDITS


@dataclass(frozen=True, slots=True)
class NewEdit:
    """What the caller of an edit says of it."""

    kind: str  # such as `add` or `relabel`
    origin: str = ""  # who or what made it
    note: str = ""
    undoes: int | None = None  # id of the edit that it undoes


@dataclass(frozen=True, slots=True)
class EditRow:
    """A row of the table of edits."""

    id: int
    time: str  # ISO 8601 with milliseconds, UTC
    kind: str
    origin: str
    note: str
    images: int  # examples of the index afterwards
    changed: int  # rows in the journal
    roots: str  # JSON list of the former and the new dataset folder, "" where it did not change
    undoes: int  # 0: none
    undone_by: int  # 0: none

    @classmethod
    def of(cls, number: int, new: NewEdit, images: int, roots: tuple[str, str] | None) -> EditRow:
        """Return the row of a new edit."""
        time = edit_time(datetime.now(UTC))
        changed_roots = "" if roots is None else json.dumps(roots)
        return cls(number, time, new.kind, new.origin, new.note, images, 0, changed_roots, new.undoes or 0, 0)

    @property
    def image_roots(self) -> tuple[str, str] | None:
        """Return the former and the new dataset folder, None where it did not change."""
        return tuple(json.loads(self.roots)) if self.roots else None


def edit_time(time: datetime) -> str:
    """Return a time as the table has it; such texts sort as the times do."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds")


def put_edit(connection: sqlite3.Connection, edit: EditRow) -> None:
    """Write a row in the place of the one with the same id."""
    row = (
        edit.id,
        edit.time,
        edit.kind,
        encoded(edit.origin),
        encoded(edit.note),
        edit.images,
        edit.changed,
        edit.roots,
        edit.undoes,
        edit.undone_by,
    )
    connection.execute(EDITS.replace, (*row, checksum(*row)))


def read_edits(connection: sqlite3.Connection, source: str, limit: int, before: int | None = None) -> Iterator[EditRow]:
    """Yield the newest edits, or the newest ones before an id; raise IndexFileError where a row is damaged."""
    last = 2**62 if before is None else before
    rows = connection.execute(f"{EDITS.select} WHERE id < ? ORDER BY id DESC LIMIT ?", (last, limit))
    return (_edit(row, source) for row in rows)


def count_edits(connection: sqlite3.Connection, before: int | None = None) -> int:
    """Return the number of edits, or of those before an id."""
    last = 2**62 if before is None else before
    return int(connection.execute(f"SELECT count(*) FROM {EDITS.name} WHERE id < ?", (last,)).fetchone()[0])


def find_edit(connection: sqlite3.Connection, source: str, number: int) -> EditRow | None:
    """Return the edit with this id, None where there is none."""
    row = connection.execute(f"{EDITS.select} WHERE id = ?", (number,)).fetchone()
    return None if row is None else _edit(row, source)


def newest_to_undo(connection: sqlite3.Connection, source: str) -> EditRow | None:
    """Return the newest edit that can be undone, has an effect, and is no undo; None where there is none."""
    row = connection.execute(
        f"{EDITS.select} WHERE undone_by = 0 AND undoes = 0 AND changed > 0 ORDER BY id DESC LIMIT 1"
    ).fetchone()
    return None if row is None else _edit(row, source)


def note_undo(connection: sqlite3.Connection, source: str, undo: EditRow) -> None:
    """Write that `undo` undid an edit. If that edit was an undo too, the edit before it has its effect again."""
    number, undone_by = undo.undoes, undo.id
    while number and (edit := find_edit(connection, source, number)) is not None:
        put_edit(connection, replace(edit, undone_by=undone_by))
        number, undone_by = edit.undoes, 0 if undone_by else edit.id


def _edit(stored: tuple[Any, ...], source: str) -> EditRow:
    *row, crc = stored
    if checksum(*row) != crc:
        raise IndexFileError(f"{source}: the row of an edit is damaged. `lmm-classifier doctor` can repair the index.")
    number, time, kind, origin, note, *others = row
    return EditRow(number, time, kind, decoded(origin, source), decoded(note, source), *others)
