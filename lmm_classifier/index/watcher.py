"""Detect changes of a durable index by reading a few bytes."""

from __future__ import annotations

import sqlite3
import weakref
from pathlib import Path
from threading import Lock

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.forking import leave_to_parent, register_for_reset
from lmm_classifier.index.storage import database


class IndexWatcher:
    """Detects commits to the durable index at `path`; a `.npz` file never counts as changed."""

    def __init__(self, path: Path) -> None:
        self._connection: sqlite3.Connection | None = None
        self._path = path
        self._lock = Lock()
        self._closing: weakref.finalize[..., IndexWatcher] | None = None
        self._data_version = 0
        self._forked = False
        self._open()
        self.changed()
        register_for_reset(self)

    def reset_after_fork(self) -> None:
        """Leave the connection to the parent process; the next call opens another one and counts as a change."""
        if self._closing is not None:
            self._closing.detach()
        leave_to_parent(self._connection)
        self._forked = self._connection is not None
        self._connection, self._closing, self._lock, self._data_version = None, None, Lock(), -1

    def _open(self) -> None:
        path = self._path
        if (path / database.FILE).is_file():
            try:
                self._connection = database.connect(path)
            except IndexFileError:
                return  # opening the index reports the problem
            self._closing = weakref.finalize(self, self._connection.close)

    def changed(self) -> bool:
        """Return whether anything was committed since the last call."""
        if self._forked:
            self._forked = False
            self._open()
        if self._connection is None:
            return False
        with self._lock:
            try:
                data_version = self._connection.execute("PRAGMA data_version").fetchone()[0]
            except sqlite3.Error:
                return False  # the index that is open stays in use
            former, self._data_version = self._data_version, data_version
            return bool(former != data_version)
