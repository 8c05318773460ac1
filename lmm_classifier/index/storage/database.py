"""The database of a durable index: opened with care, and every value in it with a checksum of its own.

SQLite in WAL mode: a commit is whole or not at all, readers see one version while a writer adds. It keeps no checksums
of its pages, so each row carries one, and a bit that flips on the disk is noticed when the row is read.
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

FILE = "index.sqlite"
FORMAT_VERSION = 2
_APPLICATION = 0x4C4D4D43  # "LMMC", in the header of the file
_BUSY = 30_000  # milliseconds to wait for another connection
_PAGE = 16384  # bytes; three vectors of SigLIP fit into one

_SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE examples (path BLOB PRIMARY KEY, label BLOB NOT NULL, hash BLOB NOT NULL, size INTEGER NOT NULL, "
    "mtime_ns INTEGER NOT NULL, added TEXT NOT NULL, how TEXT NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE vectors (key INTEGER PRIMARY KEY, encoder TEXT NOT NULL, hash BLOB NOT NULL, vector BLOB NOT NULL, "
    "crc INTEGER NOT NULL, UNIQUE (encoder, hash))",
    "CREATE TABLE files (path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, hash BLOB NOT NULL, "
    "judge TEXT NOT NULL, kind TEXT NOT NULL, reason BLOB NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE removed (hash BLOB NOT NULL, path BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (hash, path)) "
    "WITHOUT ROWID",
)


def connect(folder: Path, write: bool = False, create: bool = False) -> sqlite3.Connection:
    """Open the database in `folder`; raises IndexFileError on anything but a sound one of this program.

    A folder that cannot be written is read as it is. `create` makes a new database where there is none. A reader opens
    for writing too where it may, though it never changes a row: so that the last to leave tidies up after a crash.
    """
    file = folder / FILE
    if not create and not file.is_file():
        raise IndexFileError(f"{folder} is not an index: the folder has no {FILE}")
    with translated(folder):
        writable = os.access(folder, os.W_OK) and os.access(file, os.W_OK)
        connection = _opened(file, "rwc" if create else "rw" if write or writable else "ro")
        try:
            if create:
                _create(connection)
            _check(connection, folder)
            if not (write or create):
                connection.execute("PRAGMA query_only=ON")
        except BaseException:
            connection.close()
            raise
        return connection


def _opened(file: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(os.fsencode(file.absolute()))}?mode={mode}"
    log = file.with_name(f"{FILE}-wal")
    if mode == "ro" and not (log.exists() and log.stat().st_size):
        uri += "&immutable=1"  # WAL needs a file of shared memory beside it, which cannot be made here
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=_BUSY / 1000)
    for setting in ("trusted_schema=OFF", "cell_size_check=ON", "synchronous=FULL", "cache_size=-8192"):
        connection.execute(f"PRAGMA {setting}")
    return connection


def _create(connection: sqlite3.Connection) -> None:
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return
    connection.execute(f"PRAGMA page_size={_PAGE}")
    connection.execute("PRAGMA journal_mode=WAL")
    with transaction(connection):
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return  # another one was faster
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={_APPLICATION}")
        connection.execute(f"PRAGMA user_version={FORMAT_VERSION}")


def _check(connection: sqlite3.Connection, folder: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
        raise IndexFileError(f"{folder}/{FILE} is not an index of this program")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != FORMAT_VERSION:
        raise IndexFileError(
            f"{folder} has index format version {version}, this program reads {FORMAT_VERSION}: "
            "rebuild it with `lmm-classifier build` into another folder"
        )
    found = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    if sorted(sql for (sql,) in found) != sorted(_SCHEMA):  # no view and no trigger of a stranger is ever run
        raise IndexFileError(f"{folder}/{FILE} is damaged, or not an index of this program: its tables are others")


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Turn the errors of SQLite into an IndexFileError that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise IndexFileError(f"{folder}: {_advice(folder, error)}") from error


def _advice(folder: Path, error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorname", None) or type(error).__name__
    said = f"{error} ({code})"
    if code.startswith("SQLITE_FULL"):
        return f"the disk is full: {said}; nothing committed is lost, make room and run it again"
    if code.startswith("SQLITE_IOERR"):
        return f"the disk failed: {said}; nothing committed is lost, check the disk and run it again"
    if code.startswith("SQLITE_BUSY"):
        return f"another program is holding the index: {said}; wait for it and run it again"
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return (
            f"cannot be written, or was not closed well and cannot be read without writing: {said}; make the folder "
            "writable, or copy it to where it is"
        )
    return f"damaged: {said}; `lmm-classifier doctor {folder}` says what is wrong and mends what it can"


@contextmanager
def transaction(connection: sqlite3.Connection, write: bool = True) -> Iterator[None]:
    """Everything in the block is committed at its end, or nothing; a reader sees one version all through it."""
    connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite has rolled back by itself after some errors of the disk
            with suppress(sqlite3.Error):  # the first error is the one to be told
                connection.execute("ROLLBACK")
        raise


def encoded(text: str) -> bytes:
    """Text of any kind, lone surrogates too, as bytes that sort as the text does."""
    return text.encode("utf-8", "surrogatepass")


def decoded(value: object, source: str) -> str:
    """Undo `encoded`; raises IndexFileError on what is not such bytes."""
    try:
        if isinstance(value, bytes):
            return value.decode("utf-8", "surrogatepass")
    except ValueError:
        pass
    raise IndexFileError(f"{source}: holds damaged text; `lmm-classifier doctor` mends what it can")


def checksum(*fields: object) -> int:
    """CRC-32 over the fields of a row, their types and their bounds."""
    crc = 0
    for field in fields:
        data = field if isinstance(field, bytes) else str(field).encode()
        crc = zlib.crc32(data, zlib.crc32(f"{type(field).__name__}{len(data)}:".encode(), crc))
    return crc


def set_meta(connection: sqlite3.Connection, name: str, value: bytes) -> None:
    """Keep a value under a name."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (name, value, checksum(name, value)))


def get_meta(connection: sqlite3.Connection, name: str, source: str) -> bytes | None:
    """The value under a name, None where there is none; raises IndexFileError if it is damaged."""
    row = connection.execute("SELECT name, value, crc FROM meta WHERE name = ?", (name,)).fetchone()
    return None if row is None else _sound(row, source)


def all_meta(connection: sqlite3.Connection, source: str) -> dict[str, bytes]:
    """Every value by its name."""
    return {str(row[0]): _sound(row, source) for row in connection.execute("SELECT name, value, crc FROM meta")}


def _sound(row: tuple[Any, Any, Any], source: str) -> bytes:
    name, value, crc = row
    if not isinstance(value, bytes) or checksum(name, value) != crc:
        raise IndexFileError(f"{source}: the entry {name!r} is damaged; `lmm-classifier doctor` says how to mend it")
    return value


def as_json(value: bytes, source: str) -> dict[str, Any]:
    """Read an object that was kept as JSON."""
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise IndexFileError(f"{source}: an entry is damaged; `lmm-classifier doctor` says how to mend it")
    return found


@contextmanager
def reading(folder: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees one version of the index for as long as the block lasts."""
    with closing(connect(folder)) as connection, translated(folder), transaction(connection, write=False):
        yield connection
