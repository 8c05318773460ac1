"""Detect changes of a durable index by reading a few bytes."""

from __future__ import annotations

import sqlite3
import weakref
from pathlib import Path
from threading import Lock

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.storage import database


class IndexWatcher:
    """Detects commits to the durable index at `path`; a `.npz` file never counts as changed."""

    def __init__(self, path: Path) -> None:
        self._connection: sqlite3.Connection | None = None
        self._lock = Lock()
        self._data_version = 0
        if (path / database.FILE).is_file():
            try:
                self._connection = database.connect(path)
            except IndexFileError:
                return  # opening the index reports the problem
            weakref.finalize(self, self._connection.close)
            self.changed()

    def changed(self) -> bool:
        """Return whether anything was committed since the last call."""
        if self._connection is None:
            return False
        with self._lock:
            try:
                data_version = self._connection.execute("PRAGMA data_version").fetchone()[0]
            except sqlite3.Error:
                return False  # the index that is open stays in use
            former, self._data_version = self._data_version, data_version
            return bool(former != data_version)
