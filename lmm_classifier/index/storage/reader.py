"""Read one version of a durable index, with the derived files where they are of that version."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.protocols import Transform
from lmm_classifier.embeddings.whitening import transform_from_arrays
from lmm_classifier.index.contents import Array, IndexContents
from lmm_classifier.index.storage import database
from lmm_classifier.index.storage.columns import Labels
from lmm_classifier.index.storage.npz import CALIBRATION, TRANSFORM, require_inside
from lmm_classifier.index.storage.records import read_records
from lmm_classifier.index.storage.salvage import finish_repair
from lmm_classifier.index.storage.snapshot import Rows, Snapshot, read_snapshot, rows_in_memory, write_snapshot
from lmm_classifier.index.storage.state import BUILD, State, Vectors, as_embeddings, read_arrays
from lmm_classifier.index.storage.table import Table

logger = logging.getLogger(__name__)

ADDED_FOLDER = "added"  # images that were added by hand
_BLOCK = 1024


def read_store(folder: Path) -> IndexContents:
    """Read one version of the durable index in `folder`; derived files of another version are made again."""
    source = str(folder)
    finish_repair(folder)
    with database.reading(folder) as connection:
        state = State.read(connection, source)
        if state is None:
            raise IndexFileError(_unfinished(connection, folder))
        manifest = state.checked_manifest(source)
        transform_arrays, calibration = (read_arrays(connection, source, part) for part in (TRANSFORM, CALIBRATION))
        calibrated = database.get_meta(connection, CALIBRATION, source) or b""
        snapshot = read_snapshot(folder, state.version)
        matrix: Float32Array | None = None
        if snapshot is None or snapshot.stamp != state.stamp:
            transform = transform_from_arrays(manifest.transform, transform_arrays)
            snapshot, table, matrix = _derived(connection, folder, state, transform)
        else:
            table = snapshot.table
    vector_blocks = partial(_blocks, folder, state, table.hashes)
    return IndexContents(
        manifest=manifest,
        labels=table.labels,
        paths=table.paths,
        hashes=table.hashes,
        transform_arrays=transform_arrays,
        vector_blocks=vector_blocks,
        dtype=state.dtype,
        calibration=calibration or None,
        search_matrix=_search_matrix(folder, state, snapshot, matrix, vector_blocks, transform_arrays),
        transform_is_current=manifest.transform == "identity" or state.transform_hashes == state.contents,
        added_folder=folder / ADDED_FOLDER,
        version=state.version,
        stamp=f"{state.index} {state.version} {calibrated.decode()}",
    )


def _unfinished(connection: sqlite3.Connection, folder: Path) -> str:
    count = connection.execute("SELECT count(*) FROM vectors").fetchone()[0]
    entry = database.get_meta(connection, BUILD, str(folder))
    root = database.as_json(entry, str(folder)).get("image_root") if entry else None
    dataset = f" of {root}" if root else ""
    return (
        f"The build of {folder} did not finish: it was interrupted after {count} images. "
        f"Run `lmm-classifier build`{dataset} again to resume it."
    )


def _derived(
    connection: sqlite3.Connection, folder: Path, state: State, transform: Transform
) -> tuple[Snapshot | None, Table, Float32Array | None]:
    """Make the table and the matrix from the database: as files, or in memory if none can be written."""
    source = str(folder)
    digest, labels, paths, hashes = 0, list[str](), list[str](), list[str]()
    for record in read_records(connection, source):
        digest += record.digest
        labels.append(record.label)
        paths.append(record.path)
        hashes.append(record.content_hash)
    if digest % 2**64 != state.digest or len(paths) != state.manifest["count"]:
        raise IndexFileError(
            f"{source} has {len(paths)} examples, but {state.manifest['count']} were written, or their digests differ. "
            f"`lmm-classifier doctor {source}` can repair the index."
        )
    require_inside(paths, source)
    table = Table(Labels.of(labels), paths, hashes)
    vectors = state.vectors(connection, source)
    former = read_snapshot(folder)
    if former is not None and (former.stamp.index, former.stamp.transform) != (state.index, state.transform):
        former = None
    width = transform.transform(vectors.embeddings(hashes[:1])).shape[1]
    rows = partial(_rows, hashes, vectors, transform, former)
    try:
        return write_snapshot(folder, state.stamp, table, width, rows), table, None
    except OSError as error:
        logger.debug("The derived files of %s could not be written: %s", folder, error)
        return None, table, rows_in_memory(len(paths), width, rows)


def _rows(
    hashes: Sequence[str], vectors: Vectors, transform: Transform, former: Snapshot | None
) -> Iterator[tuple[Sequence[int], Float32Array]]:
    """Yield rows of the matrix with their places: first those of a former matrix, then the rest from the database."""
    places: Sequence[int] = range(len(hashes))
    if former is not None:
        with suppress(IndexFileError):  # a damaged former matrix: every row comes from the database
            former_matrix = former.matrix()
            former_rows = {content_hash: row for row, content_hash in enumerate(former.table.hashes)}
            known = [place for place in places if hashes[place] in former_rows]
            for start in range(0, len(known), _BLOCK):
                part = known[start : start + _BLOCK]
                yield part, former_matrix[[former_rows[hashes[place]] for place in part]]
            places = [place for place in places if hashes[place] not in former_rows]
    for start in range(0, len(places), _BLOCK):
        part = list(places[start : start + _BLOCK])
        rows = transform.transform(vectors.embeddings([hashes[place] for place in part]))
        if not np.isfinite(rows).all():
            raise IndexFileError(
                f"{vectors.source} holds vectors that are not finite. `lmm-classifier doctor` can repair the index."
            )
        yield part, rows


def _blocks(folder: Path, state: State, hashes: Sequence[str]) -> Iterator[Array]:
    """Yield all vectors as they are stored, in blocks."""
    with database.reading(folder) as connection:
        vectors = state.vectors(connection, str(folder))
        for start in range(0, len(hashes), _BLOCK):
            yield vectors.stored(hashes[start : start + _BLOCK])


def _search_matrix(
    folder: Path,
    state: State,
    snapshot: Snapshot | None,
    matrix: Float32Array | None,
    vector_blocks: Callable[[], Iterator[Array]],
    transform_arrays: Mapping[str, Array],
) -> Callable[[], Float32Array]:
    """Return a function that gives the matrix. Opening only maps it; the first use checks it, which reads it whole."""

    def rows() -> Iterator[tuple[range, Float32Array]]:
        transform = transform_from_arrays(state.manifest["transform"], transform_arrays)
        start = 0
        for block in vector_blocks():
            yield range(start, start + len(block)), transform.transform(as_embeddings(block))
            start += len(block)

    def load() -> Float32Array:
        if snapshot is None:
            return matrix  # type: ignore[return-value] # one of the two is there
        try:
            return snapshot.matrix()
        except IndexFileError as error:
            logger.warning("%s: %s. It is made again from the database.", folder, error)
        return _rewritten(folder, state, snapshot, rows)

    return load


def _rewritten(folder: Path, state: State, snapshot: Snapshot, rows: Rows) -> Float32Array:
    """Write the matrix of a damaged snapshot again, or make it in memory if it cannot be written."""
    count, width = snapshot.mapped.shape
    try:
        return write_snapshot(folder, state.stamp, snapshot.table, width, rows).mapped
    except OSError:
        return rows_in_memory(count, width, rows)
