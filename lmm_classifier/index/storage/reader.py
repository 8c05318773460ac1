"""Reads a durable index: one version of it, with the derived files where they are of that version."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.protocols import FloatArray, Space
from lmm_classifier.embeddings.whitening import restore
from lmm_classifier.index.contents import Array, Contents
from lmm_classifier.index.storage import database
from lmm_classifier.index.storage.columns import Labels
from lmm_classifier.index.storage.npz import CALIBRATION, SPACE, require_inside
from lmm_classifier.index.storage.records import read_records
from lmm_classifier.index.storage.snapshot import Rows, Snapshot, read_snapshot, rows_in_memory, write_snapshot
from lmm_classifier.index.storage.state import BUILD, State, Vectors, as_units, read_arrays
from lmm_classifier.index.storage.table import Table

logger = logging.getLogger(__name__)

ADDED_FOLDER = "added"  # pictures that were added by hand
_BLOCK = 1024


def read_store(folder: Path) -> Contents:
    """Read one version of the durable index in `folder`; its derived files are made anew if they are not of it."""
    source = str(folder)
    with database.reading(folder) as connection:
        state = State.read(connection, source)
        if state is None:
            raise IndexFileError(_unfinished(connection, folder))
        manifest = state.checked_manifest(source)
        arrays = read_arrays(connection, source)
        space_state, calibration = _below(arrays, SPACE), _below(arrays, CALIBRATION)
        snapshot = read_snapshot(folder, state.version)
        matrix: FloatArray | None = None
        if snapshot is None or snapshot.stamp != state.stamp:
            space = restore(manifest.space, space_state)
            snapshot, table, matrix = _derived(connection, folder, state, space)
        else:
            table = snapshot.table
    fetch = partial(_blocks, folder, state, table.hashes)
    return Contents(
        manifest=manifest,
        labels=table.labels,
        paths=table.paths,
        hashes=table.hashes,
        space_state=space_state,
        vector_blocks=fetch,
        dtype=state.dtype,
        calibration=calibration or None,
        search_matrix=_search_matrix(folder, state, snapshot, matrix, fetch, space_state),
        space_is_current=manifest.space == "identity" or state.space_contents == state.contents,
        added_folder=folder / ADDED_FOLDER,
        version=state.version,
    )


def _unfinished(connection: sqlite3.Connection, folder: Path) -> str:
    count = connection.execute("SELECT count(*) FROM vectors").fetchone()[0]
    said = database.get_meta(connection, BUILD, str(folder))
    root = database.as_json(said, str(folder)).get("image_root", "CORPUS") if said else "CORPUS"
    return (
        f"{folder} was never finished: its build was interrupted after {count} pictures. Run `lmm-classifier build "
        f"{root} --output {folder}` again: it goes on from there"
    )


def _derived(
    connection: sqlite3.Connection, folder: Path, state: State, space: Space
) -> tuple[Snapshot | None, Table, FloatArray | None]:
    """Make the table and the matrix from the database: as files, or in memory where none can be written."""
    source = str(folder)
    digest, labels, paths, hashes = 0, list[str](), list[str](), list[str]()
    for record in read_records(connection, source):
        digest += record.digest
        labels.append(record.label)
        paths.append(record.path)
        hashes.append(record.content_hash)
    if digest % 2**64 != state.digest or len(paths) != state.manifest["count"]:
        raise IndexFileError(
            f"{source}: {len(paths)} examples are found where {state.manifest['count']} were written; "
            f"`lmm-classifier doctor {source}` says how to mend it"
        )
    require_inside(paths, source)
    table = Table(Labels.of(labels), paths, hashes)
    vectors = state.vectors(connection, source)
    former = read_snapshot(folder)
    if former is not None and (former.stamp.index, former.stamp.space) != (state.index, state.space):
        former = None
    width = space.transform(vectors.of(hashes[:1])).shape[1]
    rows = partial(_rows, hashes, vectors, space, former)
    try:
        return write_snapshot(folder, state.stamp, table, width, rows), table, None
    except OSError as error:
        logger.debug("nothing is kept for the next to open %s: %s", folder, error)
        return None, table, rows_in_memory(len(paths), width, rows)


def _rows(
    hashes: Sequence[str], vectors: Vectors, space: Space, former: Snapshot | None
) -> Iterator[tuple[list[int], FloatArray]]:
    """Rows of the matrix with their places: those of a former one as they are, the rest from the database."""
    places = range(len(hashes))
    if former is not None:
        with suppress(IndexFileError):  # damaged: everything comes from the database
            old = former.matrix()
            rows = {content: row for row, content in enumerate(former.table.hashes)}
            known = [place for place in places if hashes[place] in rows]
            for start in range(0, len(known), _BLOCK):
                part = known[start : start + _BLOCK]
                yield part, old[[rows[hashes[place]] for place in part]]
            places = [place for place in places if hashes[place] not in rows]  # type: ignore[assignment]
    for start in range(0, len(places), _BLOCK):
        part = list(places[start : start + _BLOCK])
        found = space.transform(vectors.of([hashes[place] for place in part]))
        if not np.isfinite(found).all():
            raise IndexFileError(f"{vectors.source}: holds vectors that are not finite; `lmm-classifier doctor` helps")
        yield part, found


def _blocks(folder: Path, state: State, hashes: Sequence[str]) -> Iterator[Array]:
    """All vectors as they were kept, in blocks."""
    with database.reading(folder) as connection:
        vectors = state.vectors(connection, str(folder))
        for start in range(0, len(hashes), _BLOCK):
            yield vectors.kept(hashes[start : start + _BLOCK])


def _search_matrix(
    folder: Path,
    state: State,
    snapshot: Snapshot | None,
    matrix: FloatArray | None,
    blocks: Callable[[], Iterator[Array]],
    space_state: Mapping[str, Array],
) -> Callable[[], FloatArray]:
    """Gives the matrix when it is first needed: checked then, since that reads it whole; opening only maps it."""

    def found() -> FloatArray:
        if matrix is not None or snapshot is None:
            return matrix  # type: ignore[return-value] # one of the two is there
        try:
            return snapshot.matrix()
        except IndexFileError as error:
            logger.warning("%s: %s, and made again from the database", folder, error)
        space = restore(state.manifest["space"], space_state)

        def rows() -> Iterator[tuple[range, FloatArray]]:
            start = 0
            for block in blocks():
                yield range(start, start + len(block)), space.transform(as_units(block))
                start += len(block)

        return rewritten(folder, state, snapshot, rows)

    return found


def rewritten(folder: Path, state: State, snapshot: Snapshot, rows: Rows) -> FloatArray:
    """Write the matrix of a damaged snapshot again, or keep it in memory where that cannot be done."""
    count, width = snapshot.mapped.shape
    try:
        return write_snapshot(folder, state.stamp, snapshot.table, width, rows).mapped
    except OSError:
        return rows_in_memory(count, width, rows)


def _below(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
