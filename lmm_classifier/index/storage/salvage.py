"""Copy every sound row of a damaged database into a new one; the damaged file stays next to it.

A crash at any point loses nothing. The new database is made in a temporary folder. When it is complete, this folder is
renamed to `repaired-N`. From then on, whoever opens the index puts the new database in its place first.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from lmm_classifier.core.files import sync_to_disk
from lmm_classifier.core.sqlite_errors import SQLITE_ERRORS
from lmm_classifier.index.storage import database
from lmm_classifier.index.storage.lock import WAIT, locked
from lmm_classifier.index.storage.schema import TABLES, VECTORS, TableSchema

Row = tuple[Any, ...]
UNFINISHED = ".salvage-"  # prefix of the folder in which a new database is made
_COMPLETE = "repaired-"  # prefix of the folder of a complete new database; the number of the backup follows


def salvage(folder: Path) -> dict[str, int]:
    """Replace the database in `folder` by a new one with all readable, sound rows; return their number by table.

    The caller holds the writer's lock. Raises one of SQLITE_ERRORS if the file is not a database.
    """
    counts = {}
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder) as name:
        made = Path(name) / "new"
        made.mkdir()
        with (
            closing(database.connect(made, create=True)) as new,
            closing(_opened(folder / database.FILE)) as old,
        ):
            for table in TABLES:
                with database.transaction(new):
                    counts[table.name] = _copy(old, new, table)
        if Path(f"{made / database.FILE}-wal").exists():  # closing reports no error where the disk failed
            raise OSError(f"the new database could not be written completely to {folder}")
        sync_to_disk(made)
        made.rename(folder / f"{_COMPLETE}{_free_number(folder)}")
    sync_to_disk(folder)
    replace_database(folder)
    return counts


def is_half_repaired(folder: Path) -> bool:
    """Return whether a new database waits to be put in its place."""
    return next(folder.glob(f"{_COMPLETE}*"), None) is not None


def finish_repair(folder: Path, wait: float = WAIT) -> None:
    """Finish a repair that was interrupted; raise IndexFileError if another program changes the index all the time."""
    if is_half_repaired(folder):
        with locked(folder, wait):
            replace_database(folder)


def replace_database(folder: Path) -> None:
    """Put a complete new database in the place of the damaged one, which stays under another name.

    The caller holds the writer's lock. Each step is atomic and can be done again. The log of the damaged database is
    moved away first: SQLite would apply it to the new one.
    """
    for made in folder.glob(f"{_COMPLETE}*"):
        new, damaged = made / database.FILE, folder / database.FILE
        backup = _backup(folder, made.name.removeprefix(_COMPLETE))
        if new.exists():
            if damaged.exists() and not backup.exists():
                _set_aside(damaged, backup)
            with suppress(FileNotFoundError):
                Path(f"{damaged}-wal").rename(f"{backup}-wal")
            Path(f"{damaged}-shm").unlink(missing_ok=True)
            sync_to_disk(folder)
            new.replace(damaged)
            sync_to_disk(folder)
        shutil.rmtree(made)


def _set_aside(damaged: Path, backup: Path) -> None:
    """Give the damaged file a second name, or another one where the file system has no links."""
    try:
        os.link(damaged, backup)
    except OSError:
        damaged.rename(backup)


def _backup(folder: Path, number: str) -> Path:
    return folder / f"{database.FILE}.damaged-{number}"


def _free_number(folder: Path) -> int:
    number = 1
    while _backup(folder, str(number)).exists():
        number += 1
    return number


def _opened(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None)
    with database.closed_on_error(connection):
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
        except SQLITE_ERRORS:
            continue
        return
    if table is VECTORS:
        yield from _each_vector(old)


def _each_vector(old: sqlite3.Connection) -> Iterator[Row]:
    """Read vectors one by one: damage in the middle costs only those that lie there."""
    try:
        last = old.execute("SELECT max(key) FROM vectors").fetchone()[0] or 0
    except SQLITE_ERRORS:
        return
    for key in range(1, min(int(last), 10_000_000) + 1):
        with suppress(*SQLITE_ERRORS):
            yield from old.execute(f"{VECTORS.select} WHERE key = ?", (key,))
