"""Finds rows of a database that are not as they were written, and sets right what depends on them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lmm_classifier.index.storage import database
from lmm_classifier.index.storage.npz import CALIBRATION, SPACE
from lmm_classifier.index.storage.records import contents_digest, read_records
from lmm_classifier.index.storage.salvage import is_sound
from lmm_classifier.index.storage.state import STATE, STATE_COPY, State, put_state

_ROWS = {
    "vectors": "SELECT key, encoder, hash, vector, crc FROM vectors",
    "examples": "SELECT path, * FROM examples",
    "files": "SELECT path, * FROM files",
    "removed": "SELECT hash, * FROM removed",
    "meta": "SELECT name, * FROM meta",
}
_KEYS = {"vectors": "key", "examples": "path", "files": "path", "removed": "hash", "meta": "name"}


def drop_damaged(connection: sqlite3.Connection, drop: bool) -> dict[str, list[str]]:
    """Names of the damaged rows of each table that has some; with `drop` they are gone afterwards."""
    found = {}
    for table, query in _ROWS.items():
        bad = [row[0] for row in connection.execute(query) if not is_sound(row[1:])]
        if not bad:
            continue
        found[table] = [key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key) for key in bad]
        if drop:
            with database.transaction(connection):
                connection.executemany(f"DELETE FROM {table} WHERE {_KEYS[table]} = ?", [(key,) for key in bad])
                if table == "meta" and any(str(key).startswith(CALIBRATION) for key in bad):
                    connection.execute("DELETE FROM meta WHERE substr(name, 1, ?) = ?", (len(CALIBRATION), CALIBRATION))
                if table == "meta" and any(str(key).startswith(SPACE) for key in bad):
                    _fit_again(connection)
    return found


def _fit_again(connection: sqlite3.Connection) -> None:
    """Note that the space is of no examples, so that the next build fits it, without encoding."""
    state = State.read(connection, "the index")
    if state is not None:
        put_state(connection, replace(state, space_contents=-1))


def set_right(connection: sqlite3.Connection, state: State, source: str, mend: bool) -> Iterator[str]:
    """Problems between the tables: examples without a usable vector, and a count or digest that is not theirs."""
    if mend and any(database.get_meta(connection, name, source) is None for name in (STATE, STATE_COPY)):
        with database.transaction(connection):
            put_state(connection, state)
    records = list(read_records(connection, source))
    usable = _usable(connection, state, source)
    orphans = [record.path for record in records if record.content_hash not in usable]
    kept = [record for record in records if record.content_hash in usable]
    digest = sum(record.digest for record in records) % 2**64
    if orphans:
        yield f"{len(orphans)} examples have no usable vector: {', '.join(orphans[:3])}"
    if digest != state.digest or len(records) != state.manifest["count"]:
        yield f"{len(records)} examples are found where {state.manifest['count']} were written"
    elif not orphans:
        return
    if mend:
        with database.transaction(connection):
            paths = [(database.encoded(path),) for path in orphans]
            connection.executemany("DELETE FROM examples WHERE path = ?", paths)
            mended = replace(
                state,
                version=state.version + 1,
                digest=sum(record.digest for record in kept) % 2**64,
                contents=contents_digest(record.content_hash for record in kept),
                manifest={**state.manifest, "count": len(kept)},
            )
            put_state(connection, mended)


def _usable(connection: sqlite3.Connection, state: State, source: str) -> set[str]:
    """Contents with a sound, finite vector of unit length."""
    vectors = state.vectors(connection, source)
    usable = set()
    query = "SELECT encoder, hash, vector, crc FROM vectors WHERE encoder = ?"
    for row in connection.execute(query, (vectors.encoder,)):
        if is_sound(row) and len(row[2]) == vectors.dim * vectors.dtype.itemsize:
            length = np.linalg.norm(np.frombuffer(row[2], vectors.dtype).astype(np.float64))
            if abs(length - 1) < 0.01:  # false for NaN too
                usable.add(database.decoded(row[1], source))
    return usable
