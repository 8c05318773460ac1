"""The SQLite database of a durable index: it is opened with care, and every row has a checksum.

In WAL mode a commit is complete or has no effect, and readers see one version while a writer changes the next. SQLite
stores no checksums of its pages. So each row has its own, and reading a row detects a bit that flipped on the disk.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.sqlite_errors import SQLITE_ERRORS, reason_of
from lmm_classifier.index.manifest import other_format_message
from lmm_classifier.index.storage.schema import META, TABLES

FILE = "index.sqlite"
FORMAT_VERSION = 6
_APPLICATION = 0x4C4D4D43  # "LMMC", in the header of the file
_BUSY = 30_000  # milliseconds to wait for another connection
_PAGE = 16384  # bytes; three vectors of SigLIP fit into one


def connect(folder: Path, write: bool = False, create: bool = False) -> sqlite3.Connection:
    """Open the database in `folder`; raise IndexFileError unless it is a sound one of this program.

    `create` makes a new database where there is none. A folder that is not writable is opened read-only. Even a reader
    opens a writable file for writing, although it never changes a row: only so can the last connection to close clean
    up after a crash.
    """
    file = folder / FILE
    if not create and not file.is_file():
        raise IndexFileError(f"{folder} is not an index: the folder has no {FILE}.")
    with translated(folder):
        connection = _opened(file, "rwc" if create else "rw" if write else _reading_mode(file))
        with closed_on_error(connection):
            if create:
                _create(connection)
            _check(connection, folder)
            if not (write or create):
                connection.execute("PRAGMA query_only=ON")
        return connection


def _reading_mode(file: Path) -> str:
    return "rw" if os.access(file.parent, os.W_OK) and os.access(file, os.W_OK) else "ro"


def _opened(file: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(os.fsencode(file.absolute()))}?mode={mode}"
    log = file.with_name(f"{FILE}-wal")
    if mode == "ro" and not (log.exists() and log.stat().st_size):
        uri += "&immutable=1"  # WAL needs a file of shared memory in the same folder, which cannot be made here
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=_BUSY / 1000)
    with closed_on_error(connection):
        for setting in ("trusted_schema=OFF", "cell_size_check=ON", "synchronous=FULL", "cache_size=-8192"):
            connection.execute(f"PRAGMA {setting}")
    return connection


@contextmanager
def closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    """Close the connection if the block fails, because then no caller gets it."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _create(connection: sqlite3.Connection) -> None:
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return
    connection.execute(f"PRAGMA page_size={_PAGE}")
    connection.execute("PRAGMA journal_mode=WAL")
    with transaction(connection):
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return  # another connection created the tables first
        for table in TABLES:
            for statement in table.statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id={_APPLICATION}")
        connection.execute(f"PRAGMA user_version={FORMAT_VERSION}")


def _check(connection: sqlite3.Connection, folder: Path) -> None:
    """Raise IndexFileError for a database of another program or format; the format is checked before the tables."""
    if _pragma(connection, "application_id") != _APPLICATION:
        raise IndexFileError(f"{folder}/{FILE} is not an index of this program.")
    version = _pragma(connection, "user_version")
    if version != FORMAT_VERSION:
        raise IndexFileError(_other_format(folder, version))
    if not _has_our_tables(connection):
        raise IndexFileError(f"{folder}/{FILE} is damaged or not an index of this program: it has other tables.")


def former_format(folder: Path) -> str | None:
    """Return the error message for an index of a former format, None for any other index, sound or damaged.

    A database with another version number but with the tables of this program is a damaged one: it can be repaired.
    """
    with suppress(*SQLITE_ERRORS), closing(_opened(folder / FILE, _reading_mode(folder / FILE))) as connection:
        version = _pragma(connection, "user_version")
        ours = _pragma(connection, "application_id") == _APPLICATION
        if ours and version != FORMAT_VERSION and not _has_our_tables(connection):
            return _other_format(folder, version)
    return None


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _other_format(folder: Path, version: int) -> str:
    return other_format_message(str(folder), version, FORMAT_VERSION, " into another folder")


def _has_our_tables(connection: sqlite3.Connection) -> bool:
    """Return whether there are exactly our tables: a view or trigger that somebody added must never run."""
    found = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return sorted(sql for (sql,) in found) == sorted(sql for table in TABLES for sql in table.statements)


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Turn errors of SQLite into an IndexFileError that says what to do."""
    try:
        yield
    except SQLITE_ERRORS as error:
        raise IndexFileError(f"{folder}: {_advice(folder, error)}") from error


def _advice(folder: Path, error: Exception) -> str:
    code = getattr(error, "sqlite_errorname", None) or type(error).__name__
    reason = f"{reason_of(error)} ({code})"
    if code.startswith("SQLITE_FULL"):
        return f"the disk is full: {reason}. Everything committed is safe. Free some space and run this again."
    if code.startswith("SQLITE_IOERR"):
        return f"the disk failed: {reason}. Everything committed is safe. Check the disk and run this again."
    if code.startswith("SQLITE_BUSY"):
        return f"another program is using the index: {reason}. Wait for it and run this again."
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return (
            f"the index cannot be written, or it was not closed and cannot be read without writing: {reason}. Make the "
            "folder writable, or copy it to a writable place."
        )
    return f"the index is damaged: {reason}. `lmm-classifier doctor {folder}` describes the damage and can repair it."


@contextmanager
def transaction(connection: sqlite3.Connection, write: bool = True) -> Iterator[None]:
    """Commit everything in the block at its end, or nothing; a reader sees one version in the whole block."""
    connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # after some disk errors SQLite has rolled back already
            with suppress(*SQLITE_ERRORS):  # the first error is the one to report
                connection.execute("ROLLBACK")
        raise


def shrink(connection: sqlite3.Connection) -> None:
    """Give the space of deleted rows back to the disk, where they were a tenth of the file or more.

    It is only space, so no error is raised: without room for the copy that SQLite makes, the file stays as large as it
    is, and later rows use the space.
    """
    with suppress(*SQLITE_ERRORS):
        if 10 * _pragma(connection, "freelist_count") >= _pragma(connection, "page_count"):
            connection.execute("VACUUM")


def encoded(text: str) -> bytes:
    """Return any text, with lone surrogates too, as bytes that sort as the text does."""
    return text.encode("utf-8", "surrogatepass")


def decoded(value: object, source: str) -> str:
    """Undo `encoded`; raise IndexFileError for any other value."""
    try:
        if isinstance(value, bytes):
            return value.decode("utf-8", "surrogatepass")
    except ValueError:
        pass
    raise IndexFileError(f"{source}: a text is damaged. `lmm-classifier doctor` can repair the index.")


def checksum(*fields: object) -> int:
    """Return the CRC-32 of the fields of a row, with their types and lengths."""
    crc = 0
    for field in fields:
        data = field if isinstance(field, bytes) else str(field).encode()
        crc = zlib.crc32(data, zlib.crc32(f"{type(field).__name__}{len(data)}:".encode(), crc))
    return crc


def set_meta(connection: sqlite3.Connection, name: str, value: bytes) -> None:
    """Store a value under a name."""
    connection.execute(META.replace, (name, value, checksum(name, value)))


def get_meta(connection: sqlite3.Connection, name: str, source: str) -> bytes | None:
    """Return the value under a name, None where there is none; raise IndexFileError if it is damaged."""
    row = connection.execute(f"{META.select} WHERE name = ?", (name,)).fetchone()
    return None if row is None else _checked_value(row, source)


def all_meta(connection: sqlite3.Connection, source: str) -> dict[str, bytes]:
    """Return every value by its name."""
    return {str(row[0]): _checked_value(row, source) for row in connection.execute(META.select)}


def _checked_value(row: tuple[Any, Any, Any], source: str) -> bytes:
    name, value, crc = row
    if not isinstance(value, bytes) or checksum(name, value) != crc:
        raise IndexFileError(f"{source}: the entry {name!r} is damaged. `lmm-classifier doctor` can repair the index.")
    return value


def as_json(value: bytes, source: str) -> dict[str, Any]:
    """Read an object that was stored as JSON."""
    try:
        entry = json.loads(value)
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        raise IndexFileError(f"{source}: an entry is damaged. `lmm-classifier doctor` can repair the index.")
    return entry


@contextmanager
def reading(folder: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection that sees one version of the index until the block ends."""
    with closing(connect(folder)) as connection, translated(folder), transaction(connection, write=False):
        yield connection
