"""Copy every sound row of a damaged database into a new one; the damaged file stays next to it."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from lmm_classifier.index.storage import database
from lmm_classifier.index.storage.schema import TABLES, VECTORS, TableSchema

Row = tuple[Any, ...]


def salvage(folder: Path) -> dict[str, int]:
    """Replace the database in `folder` by a new one with all readable, sound rows; return their number by table.

    The caller holds the writer's lock. Raises sqlite3.Error if the file is not a database.
    """
    damaged = folder / database.FILE
    counts = {}
    with tempfile.TemporaryDirectory(prefix=".salvage-", dir=folder) as name:
        with closing(database.connect(Path(name), create=True)) as new, closing(_opened(damaged)) as old:
            for table in TABLES:
                with database.transaction(new):
                    counts[table.name] = _copy(old, new, table)
        backup = _free_name(damaged)
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{damaged}{suffix}").rename(f"{backup}{suffix}")
        shutil.move(Path(name) / database.FILE, damaged)
    return counts


def _opened(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA application_id").fetchone()  # raises if this is not a database
    return connection


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, table: TableSchema) -> int:
    return sum(new.execute(table.add, row).rowcount for row in _readable(old, table) if is_sound(row))


def is_sound(row: Row) -> bool:
    """Return whether the checksum of a row, its last field, is right."""
    return bool(database.checksum(*row[:-1]) == row[-1])


def _readable(old: sqlite3.Connection, table: TableSchema) -> Iterator[Row]:
    """Read all rows that can be reached: from the first one up, and from the last one down, until the damage."""
    old.text_factory = lambda data: data.decode("utf-8", "replace")
    for direction in ("ASC", "DESC"):
        try:
            yield from old.execute(f"{table.select} ORDER BY {table.key} {direction}")
        except sqlite3.Error:
            continue
        return
    if table is VECTORS:
        yield from _each_vector(old)


def _each_vector(old: sqlite3.Connection) -> Iterator[Row]:
    """Read vectors one by one: damage in the middle costs only those that lie there."""
    try:
        last = old.execute("SELECT max(key) FROM vectors").fetchone()[0] or 0
    except sqlite3.Error:
        return
    for key in range(1, min(int(last), 10_000_000) + 1):
        with suppress(sqlite3.Error):
            yield from old.execute(f"{VECTORS.select} WHERE key = ?", (key,))


def _free_name(file: Path) -> Path:
    number = 1
    while (name := file.with_name(f"{file.name}.damaged-{number}")).exists():
        number += 1
    return name
