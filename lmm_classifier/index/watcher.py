"""Tells when somebody has changed a durable index, at the price of looking at a few bytes."""

from __future__ import annotations

import sqlite3
import weakref
from pathlib import Path
from threading import Lock

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.storage import database


class Watch:
    """Notices commits to the durable index at `path`; a `.npz` file never changes for it."""

    def __init__(self, path: Path) -> None:
        self._connection: sqlite3.Connection | None = None
        self._lock = Lock()
        self._seen = 0
        if (path / database.FILE).is_file():
            try:
                self._connection = database.connect(path)
            except IndexFileError:
                return  # whoever opens the index will say what is wrong
            weakref.finalize(self, self._connection.close)
            self.changed()

    def changed(self) -> bool:
        """Whether anything was committed since this was last asked."""
        if self._connection is None:
            return False
        with self._lock:
            try:
                seen = self._connection.execute("PRAGMA data_version").fetchone()[0]
            except sqlite3.Error:
                return False  # what is open stays in use
            before, self._seen = self._seen, seen
            return bool(before != seen)
