"""The database of runs: it is opened with care, only its owner can read it, and a commit is whole or has no effect."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from urllib.parse import quote

from lmm_classifier.core.errors import ClosedError, RunsFileError
from lmm_classifier.core.forking import ForkSafeLock, leave_to_parent, register_for_reset
from lmm_classifier.core.sqlite_errors import SQLITE_ERRORS, reason_of
from lmm_classifier.index.storage.database import closed_on_error, transaction
from lmm_classifier.review.storage.tables import STATEMENTS

FILE = "review.sqlite"
FORMAT_VERSION = 3
_APPLICATION = 0x4C4D4D52  # "LMMR", in the header of the file
_BUSY = 30.0  # seconds to wait for another connection
_ADVICE = {
    ("SQLITE_FULL",): "the disk is full: {}. Everything committed is safe. Free some space and try again.",
    ("SQLITE_IOERR",): "the disk failed: {}. Everything committed is safe. Check the disk and try again.",
    ("SQLITE_BUSY", "SQLITE_LOCKED"): "another program is using the runs: {}. Wait for it and try again.",
    ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM"): (
        "runs cannot be written: {}. Make the file and its folder writable."
    ),
}


class DamagedRunsError(RunsFileError):
    """The database of runs is damaged, or it is another file."""


def connect(folder: Path) -> sqlite3.Connection:
    """Open the database in the folder of an index, and create it where there is none.

    Raises RunsFileError unless it is a sound database of runs of this format.
    """
    if not folder.is_dir():
        raise RunsFileError(f"Runs are stored next to an index, but {folder} is not a folder. Build an index first.")
    file = folder / FILE
    with translated(file):
        is_new = _make_private(file)
        connection = sqlite3.connect(
            f"file:{quote(os.fsencode(file.absolute()))}?mode=rw",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=_BUSY,
        )
        with closed_on_error(connection):
            for setting in ("trusted_schema=OFF", "cell_size_check=ON", "synchronous=FULL", "secure_delete=ON"):
                connection.execute(f"PRAGMA {setting}")
            if is_new or file.stat().st_size == 0:
                connection.execute("PRAGMA journal_mode=WAL")
            _create(connection)
            _check(connection, file)
    return connection


def _make_private(file: Path) -> bool:
    """Create an empty file that only its owner can read, unless there is one; its log gets the same permissions."""
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    except OSError as error:
        raise RunsFileError(f"Runs cannot be stored in {file}: {error}. Make the folder writable.") from error
    return True


def _create(connection: sqlite3.Connection) -> None:
    with transaction(connection):  # of several programs that open a new file, one creates the tables
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in STATEMENTS:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={_APPLICATION}")
            connection.execute(f"PRAGMA user_version={FORMAT_VERSION}")


def _check(connection: sqlite3.Connection, file: Path) -> None:
    """Raise RunsFileError for another database; a view or a trigger that somebody added must never run."""
    application, version = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("application_id", "user_version")
    )
    if application == _APPLICATION and version != FORMAT_VERSION:
        raise RunsFileError(
            f"{file} has format {version} of runs, and this program reads format {FORMAT_VERSION}. Move the file away; "
            "the images can be classified again."
        )
    found = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")
    if application != _APPLICATION or sorted(sql for (sql,) in found) != sorted(STATEMENTS):
        raise DamagedRunsError(f"{file} is damaged, or not a database of runs of this program. Move the file away.")


@contextmanager
def translated(file: Path) -> Iterator[None]:
    """Turn errors of SQLite into a RunsFileError that says what to do."""
    try:
        yield
    except SQLITE_ERRORS as error:
        code = getattr(error, "sqlite_errorname", None) or type(error).__name__
        reason = f"{reason_of(error)} ({code})"
        for codes, advice in _ADVICE.items():
            if code.startswith(codes):
                raise RunsFileError(f"{file}: {advice.format(reason)}") from error
        advice = "Move the file away; the index is not concerned."
        raise DamagedRunsError(f"{file}: the database of runs is damaged: {reason}. {advice}") from error


def shrink(connection: sqlite3.Connection) -> None:
    """Give the space of deleted rows back to the disk; where that fails, later rows use the space."""
    with suppress(*SQLITE_ERRORS):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


class ReviewDatabase:
    """One open database, which the threads of a program share; one of them uses it at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder: Path = folder
        self.file: Path = folder / FILE
        self._lock = ForkSafeLock(RLock)
        self._connection: sqlite3.Connection | None = connect(folder)
        self._closed = False
        register_for_reset(self)

    def reset_after_fork(self) -> None:
        """Leave the connection to the parent process; the next use opens another one."""
        leave_to_parent(self._connection)
        self._connection = None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that sees one version until the block ends."""
        with self._used(write=False) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection; everything in the block is committed at its end, or nothing."""
        with self._used(write=True) as connection:
            yield connection

    @contextmanager
    def _used(self, write: bool) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._closed:
                raise ClosedError("These runs are closed. Open them again.")
            if self._connection is None:
                self._connection = connect(self.folder)
            with translated(self.file):
                if self._connection.in_transaction:  # a block inside another one of the same thread
                    yield self._connection
                    return
                with transaction(self._connection, write):
                    yield self._connection

    def shrink(self) -> None:
        """Give the space of deleted rows back to the disk."""
        with self._lock:
            if self._connection is not None:
                shrink(self._connection)

    def close(self) -> None:
        """Close the database; closing it twice is no error."""
        with self._lock:
            self._closed = True
            if self._connection is not None:
                self._connection.close()
            self._connection = None
