"""Saves what is sound out of a damaged database into a new one; the damaged file is kept beside it."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from lmm_classifier.index.storage import database

_COLUMNS = {
    "meta": "name, value, crc",
    "examples": "path, label, hash, size, mtime_ns, added, how, crc",
    "vectors": "encoder, hash, vector, crc",
    "files": "path, size, mtime_ns, hash, judge, kind, reason, crc",
    "removed": "hash, path, crc",
}
_KEYS = {"meta": "name", "examples": "path", "vectors": "key", "files": "path", "removed": "hash"}
Row = tuple[Any, ...]


def salvage(folder: Path) -> dict[str, int]:
    """Replace the database in `folder` by a new one with all rows that can be read and are sound, and count them.

    The caller holds the lock of the writer. Raises sqlite3.Error where the file is no database at all.
    """
    damaged = folder / database.FILE
    counts = {}
    with tempfile.TemporaryDirectory(prefix=".salvage-", dir=folder) as name:
        with closing(database.connect(Path(name), create=True)) as new, closing(_opened(damaged)) as old:
            for table in _COLUMNS:
                with database.transaction(new):
                    counts[table] = _copy(old, new, table)
        kept = _free_name(damaged)
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{damaged}{suffix}").rename(f"{kept}{suffix}")
        shutil.move(Path(name) / database.FILE, damaged)
    return counts


def _opened(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA application_id").fetchone()  # raises where this is no database
    return connection


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> int:
    columns = _COLUMNS[table]
    marks = ", ".join("?" for _ in columns.split(","))
    copied = 0
    for row in _readable(old, table):
        if is_sound(row):
            statement = f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})"
            copied += new.execute(statement, row).rowcount
    return copied


def is_sound(row: Row) -> bool:
    """Whether a row, its checksum last, is as it was written."""
    return bool(database.checksum(*row[:-1]) == row[-1])


def _readable(old: sqlite3.Connection, table: str) -> Iterator[Row]:
    """All rows that can be reached: from the first up, and from the last down, until the damage."""
    old.text_factory = lambda data: data.decode("utf-8", "replace")
    for direction in ("ASC", "DESC"):
        try:
            yield from old.execute(f"SELECT {_COLUMNS[table]} FROM {table} ORDER BY {_KEYS[table]} {direction}")
        except sqlite3.Error:
            continue
        return
    if table == "vectors":
        yield from _one_by_one(old)


def _one_by_one(old: sqlite3.Connection) -> Iterator[Row]:
    """Vectors by their keys: damage in the middle costs those that lie there."""
    try:
        last = old.execute("SELECT max(key) FROM vectors").fetchone()[0] or 0
    except sqlite3.Error:
        return
    for key in range(1, min(int(last), 10_000_000) + 1):
        with suppress(sqlite3.Error):
            yield from old.execute(f"SELECT {_COLUMNS['vectors']} FROM vectors WHERE key = ?", (key,))


def _free_name(file: Path) -> Path:
    number = 1
    while (name := file.with_name(f"{file.name}.damaged-{number}")).exists():
        number += 1
    return name
