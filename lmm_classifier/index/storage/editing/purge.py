"""Forget old edits: their rows, the vectors and the images that only they referred to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from lmm_classifier.index.storage.database import decoded, encoded
from lmm_classifier.index.storage.editing.trash import image_name
from lmm_classifier.index.storage.records import find_records


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """Numbers of what `IndexEditor.purge` deleted for good."""

    edits: int  # edits of the journal
    contents: int  # images that are no examples, and whose vectors were deleted
    images: int  # images in the trash
    bytes: int  # size of these images


def purge_edits(connection: sqlite3.Connection, source: str, before: str) -> tuple[int, int]:
    """Delete the edits before a time, and vectors that only they referred to; return the numbers of both.

    The caller has begun a transaction. It deletes images only after that.
    """
    old = "SELECT id FROM edits WHERE time < ?"
    hashes = _texts(connection, source, f"SELECT DISTINCT hash FROM journal WHERE edit IN ({old})", (before,))
    connection.execute(f"DELETE FROM journal WHERE edit IN ({old})", (before,))
    edits = connection.execute("DELETE FROM edits WHERE time < ?", (before,)).rowcount
    unused = hashes - _texts(connection, source, "SELECT DISTINCT hash FROM journal")
    unused = {digest for digest in unused if not find_records(connection, source, "hash", digest)}
    encoders = connection.execute("SELECT DISTINCT encoder FROM vectors").fetchall()
    contents = [digest for digest in unused if _drop_vectors(connection, encoders, digest)]
    return edits, len(contents)


def referenced_images(connection: sqlite3.Connection, source: str) -> set[str]:
    """Return the names of the images added by hand to which the journal refers."""
    paths = _texts(connection, source, "SELECT DISTINCT path FROM journal WHERE kind = 'example'")
    return {name for path in paths if (name := image_name(path)) is not None}


def _drop_vectors(connection: sqlite3.Connection, encoders: Iterable[tuple[str]], content_hash: str) -> int:
    statement = "DELETE FROM vectors WHERE encoder = ? AND hash = ?"
    return sum(connection.execute(statement, (encoder, encoded(content_hash))).rowcount for (encoder,) in encoders)


def _texts(connection: sqlite3.Connection, source: str, query: str, values: tuple[str, ...] = ()) -> set[str]:
    return {decoded(text, source) for (text,) in connection.execute(query, values)}
