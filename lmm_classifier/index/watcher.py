"""Detect changes of a durable index by reading a few bytes."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Hashable
from pathlib import Path
from threading import Lock

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.forking import leave_to_parent, register_for_reset
from lmm_classifier.core.sqlite_errors import SQLITE_ERRORS
from lmm_classifier.index.storage import database


class IndexWatcher:
    """Detects commits to the durable index at `path`, and another database in its place.

    An `.npz` file never counts as changed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # device and inode of the file that is open
        self._close = weakref.finalize(self, _nothing)
        self._lock = Lock()
        self._opened = 0
        self._latest = self.state()
        register_for_reset(self)

    def reset_after_fork(self) -> None:
        """Leave the connection to the parent process; the next call opens another one and counts as a change."""
        self._close.detach()
        leave_to_parent(self._connection)
        self._connection, self._close, self._lock = None, weakref.finalize(self, _nothing), Lock()

    def changed(self) -> bool:
        """Return whether anything was committed since the last call."""
        former, self._latest = self._latest, self.state()
        return former != self._latest

    def state(self) -> Hashable:
        """Return a value that differs after each commit, and after each change of a file that cannot be read."""
        with self._lock:
            try:
                stat = (self._path / database.FILE).stat()
            except OSError as error:
                return type(error).__name__  # there is no database
            try:
                if self._connection is None or self._file != (stat.st_dev, stat.st_ino):
                    self._open((stat.st_dev, stat.st_ino))
                assert self._connection is not None
                return self._opened, self._connection.execute("PRAGMA data_version").fetchone()[0]
            except (IndexFileError, *SQLITE_ERRORS):
                self._drop()
                return stat.st_ino, stat.st_size, stat.st_mtime_ns

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._drop()

    def _open(self, file: tuple[int, int]) -> None:
        self._drop()
        self._connection, self._file = database.connect(self._path), file
        self._close = weakref.finalize(self, self._connection.close)
        self._opened += 1

    def _drop(self) -> None:
        self._close()
        self._connection = None


class NoWatcher:
    """The watcher of an index in memory, which never changes."""

    def changed(self) -> bool:
        """Return False."""
        return False

    def close(self) -> None:
        """Close nothing."""


def _nothing() -> None:
    """Close nothing: no database is open."""
