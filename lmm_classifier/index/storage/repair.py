"""Find damaged rows of a database, remove them, and correct what depends on them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.storage import database
from lmm_classifier.index.storage.records import contents_digest, read_records
from lmm_classifier.index.storage.salvage import is_sound
from lmm_classifier.index.storage.schema import META, TABLES, VECTORS
from lmm_classifier.index.storage.state import (
    CALIBRATED,
    CALIBRATION,
    GROUPS,
    STATE,
    STATE_COPY,
    TRANSFORM,
    State,
    Vectors,
    drop_arrays,
    put_state,
    read_arrays,
    transform_prefix,
)


def drop_damaged(connection: sqlite3.Connection, drop: bool) -> dict[str, list[str]]:
    """Return the names of the damaged rows by table; with `drop`, remove these rows."""
    damaged: dict[str, list[str]] = {}
    for table in reversed(TABLES):
        rows = connection.execute(f"SELECT {table.key}, {table.column_names} FROM {table.name}")
        keys = [row[0] for row in rows if not is_sound(row[1:])]
        if not keys:
            continue
        names = [key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key) for key in keys]
        damaged[table.name] = names
        if drop:
            with database.transaction(connection):
                statement = f"DELETE FROM {table.name} WHERE {table.key} = ?"
                connection.executemany(statement, [(key,) for key in keys])
                if table is META:
                    _drop_dependents(connection, names)
    return damaged


def _drop_dependents(connection: sqlite3.Connection, names: list[str]) -> None:
    for prefix in (CALIBRATION, GROUPS, TRANSFORM):
        if any(name == prefix or name.startswith(f"{prefix}.") for name in names):
            _drop_group(connection, prefix)


def _drop_group(connection: sqlite3.Connection, prefix: str) -> None:
    """Remove a calibration, or groups, of which an array is damaged; let the next build fit a damaged transform.

    Nothing is encoded for that: the transform is marked as fitted to no examples.
    """
    if prefix == GROUPS:
        drop_arrays(connection, prefix)
    elif prefix == CALIBRATION:
        drop_arrays(connection, prefix)
        connection.execute("DELETE FROM meta WHERE name = ?", (CALIBRATED,))
    elif (state := State.read(connection, "the index")) is not None:
        put_state(connection, replace(state, transform_hashes=-1))


def repair_arrays(connection: sqlite3.Connection, state: State, source: str, repair: bool) -> Iterator[str]:
    """Yield whether the calibration, the groups or a transform are incomplete; with `repair`, see `drop_damaged`."""
    encoders = range(len(state.checked_manifest(source).encoders))
    groups = [
        (CALIBRATION, CALIBRATION),
        (GROUPS, GROUPS),
        *((TRANSFORM, transform_prefix(place)) for place in encoders),
    ]
    for group, prefix in groups:
        try:
            read_arrays(connection, source, prefix)
        except IndexFileError as error:
            yield str(error).partition(". `lmm-classifier")[0]
            if repair:
                with database.transaction(connection):
                    _drop_group(connection, group)


def repair_relations(connection: sqlite3.Connection, state: State, source: str, repair: bool) -> Iterator[str]:
    """Yield contradictions between tables: examples without a usable vector, and a wrong count or digest.

    With `repair`, remove such examples and correct the count and the digest.
    """
    if repair and any(database.get_meta(connection, name, source) is None for name in (STATE, STATE_COPY)):
        with database.transaction(connection):
            put_state(connection, state)
    records = list(read_records(connection, source))
    usable = set.intersection(*(_usable_hashes(vectors) for vectors in state.vectors(connection, source)))
    orphans = [record.path for record in records if record.content_hash not in usable]
    complete = [record for record in records if record.content_hash in usable]
    digest = sum(record.digest for record in records) % 2**64
    if orphans:
        yield f"{len(orphans)} examples have no usable vector: {', '.join(orphans[:3])}"
    if digest != state.digest or len(records) != state.manifest["count"]:
        yield f"the index has {len(records)} examples, but {state.manifest['count']} were written"
    elif not orphans:
        return
    if repair:
        with database.transaction(connection):
            paths = [(database.encoded(path),) for path in orphans]
            connection.executemany("DELETE FROM examples WHERE path = ?", paths)
            repaired = replace(
                state,
                version=state.version + 1,
                digest=sum(record.digest for record in complete) % 2**64,
                contents=contents_digest(record.content_hash for record in complete),
                manifest={**state.manifest, "count": len(complete)},
            )
            put_state(connection, repaired)


def _usable_hashes(vectors: Vectors) -> set[str]:
    """Return the content hashes that have a sound, finite vector of norm 1."""
    usable = set()
    for row in vectors.connection.execute(f"{VECTORS.select} WHERE encoder = ?", (vectors.encoder,)):
        if is_sound(row) and len(row[2]) == vectors.dim * vectors.dtype.itemsize:
            norm = np.linalg.norm(np.frombuffer(row[2], vectors.dtype).astype(np.float64))
            if abs(norm - 1) < 0.01:  # false for NaN too
                usable.add(database.decoded(row[1], vectors.source))
    return usable
