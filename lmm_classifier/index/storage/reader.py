"""Read one version of a durable index, with the derived files where they are of that version."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from lmm_classifier.core.arrays import Float32Array, IntArray, as_slice
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.protocols import Transform
from lmm_classifier.embeddings.whitening import IdentityTransform, transform_from_arrays
from lmm_classifier.index.contents import Array, EncoderVectors, IndexContents
from lmm_classifier.index.storage import database
from lmm_classifier.index.storage.columns import Labels
from lmm_classifier.index.storage.editing.dismissals import read_dismissals
from lmm_classifier.index.storage.editing.table_update import updated_table
from lmm_classifier.index.storage.npz import require_inside
from lmm_classifier.index.storage.records import read_records
from lmm_classifier.index.storage.salvage import finish_repair
from lmm_classifier.index.storage.snapshot import (
    Snapshot,
    read_snapshot,
    rows_in_memory,
    seconds_since_written,
    write_snapshot,
)
from lmm_classifier.index.storage.state import (
    BUILD,
    CALIBRATION,
    State,
    Vectors,
    as_embeddings,
    read_arrays,
    read_groups,
    transform_prefix,
)
from lmm_classifier.index.storage.table import Table
from lmm_classifier.index.storage.times import read_milliseconds

logger: logging.Logger = logging.getLogger(__name__)

ADDED_FOLDER = "added"  # images that were added by hand
_BLOCK = 1024
_LARGE, _FEW, _NEW = 1 << 24, 1000, 60.0  # bytes of matrices; examples; seconds


def read_store(folder: Path) -> IndexContents:
    """Read one version of the durable index in `folder`; derived files of another version are made again."""
    source = str(folder)
    finish_repair(folder)
    with database.reading(folder) as connection:
        state = State.read(connection, source)
        if state is None:
            raise IndexFileError(_unfinished(connection, folder))
        manifest = state.checked_manifest(source)
        arrays = [read_arrays(connection, source, transform_prefix(place)) for place in range(len(manifest.encoders))]
        transforms = [transform_from_arrays(*pair) for pair in zip((e.transform for e in manifest.encoders), arrays)]
        calibration, groups = read_arrays(connection, source, CALIBRATION), read_groups(connection, source)
        calibrated = database.get_meta(connection, CALIBRATION, source) or b""
        dismissals, milliseconds = read_dismissals(connection, source), read_milliseconds(connection, source)
        snapshot = read_snapshot(folder, state.version)
        matrices: list[Float32Array] = []
        if snapshot is None or snapshot.stamp != state.stamp:
            snapshot, table, matrices = _derived(connection, folder, state, transforms)
        else:
            table = snapshot.table
    derived = _Derived(folder, state, table, transforms, snapshot, matrices)
    return IndexContents(
        manifest=manifest,
        labels=table.labels,
        paths=table.paths,
        hashes=table.hashes,
        vectors=tuple(
            EncoderVectors(arrays[place], partial(derived.blocks, place), partial(derived.matrix, place))
            for place in range(len(arrays))
        ),
        dtype=state.dtype,
        calibration=calibration or None,
        transforms_are_current=all(isinstance(transform, IdentityTransform) for transform in transforms)
        or state.transform_hashes == state.contents,
        added_folder=folder / ADDED_FOLDER,
        dismissals=dismissals,
        milliseconds=milliseconds,
        groups=groups,
        version=state.version,
        stamp=f"{state.index} {state.version} {calibrated.decode()}",
        name=state.index,
    )


def _unfinished(connection: sqlite3.Connection, folder: Path) -> str:
    count = connection.execute("SELECT count(DISTINCT hash) FROM vectors").fetchone()[0]
    entry = database.get_meta(connection, BUILD, str(folder))
    root = database.as_json(entry, str(folder)).get("image_root") if entry else None
    if root == "":
        return f"The import of {folder} did not finish: it was interrupted after {count} vectors. Import it again."
    dataset = f" of {root}" if root else ""
    return (
        f"The build of {folder} did not finish: it was interrupted after {count} images. "
        f"Run `lmm-classifier build`{dataset} again to resume it."
    )


def _derived(
    connection: sqlite3.Connection, folder: Path, state: State, transforms: Sequence[Transform]
) -> tuple[Snapshot | None, Table, list[Float32Array]]:
    """Make the table and the matrices from the database: as files, or in memory if none can be written."""
    source = str(folder)
    former = read_snapshot(folder)
    if former is not None and former.stamp.index != state.index:
        former = None
    table = None
    if former is not None:
        has_images = bool(state.manifest["image_root"])
        table = updated_table(connection, source, former.table, former.stamp, state.stamp, has_images)
    if table is None or len(table.paths) != state.manifest["count"]:
        table = _whole_table(connection, source, state)
    hashes, rows, widths = table.hashes, [], []
    for place, (vectors, transform) in enumerate(zip(state.vectors(connection, source), transforms)):
        widths.append(transform.transform(vectors.embeddings(hashes[:1])).shape[1])
        matrix = partial(_former_matrix, former, state.transforms[place])
        rows.append(partial(_rows, hashes, vectors, transform, former, matrix))
    if former is None or not _suffices(folder, former, state, table):
        try:
            return write_snapshot(folder, state.stamp, table, widths, rows), table, []
        except OSError as error:
            logger.debug("The derived files of %s could not be written: %s", folder, error)
    return None, table, [rows_in_memory(len(hashes), *matrix) for matrix in zip(widths, rows)]


def _suffices(folder: Path, former: Snapshot, state: State, table: Table) -> bool:
    """Return whether a former snapshot need not be replaced: it is large and new, and little was changed since.

    So a reader that follows one edit after the other copies the rows in memory, and does not write them all each time.
    """
    return (
        sum(matrix.nbytes for matrix in former.mapped) > _LARGE
        and abs(len(table.paths) - len(former.table.paths)) <= _FEW
        and former.stamp.transforms == state.stamp.transforms
        and 0 <= seconds_since_written(folder, former.stamp.version) < _NEW
    )


def _whole_table(connection: sqlite3.Connection, source: str, state: State) -> Table:
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
    require_inside(paths, source, bool(state.manifest["image_root"]))
    return Table(Labels.of(labels), paths, hashes)


def _former_matrix(former: Snapshot | None, transform: int) -> Float32Array | None:
    """Return the matrix of a former snapshot that has this encoder and transform; None where there is no sound one."""
    if former is not None and transform in former.stamp.transforms:
        with suppress(IndexFileError):  # a damaged former matrix: every row comes from the database
            return former.matrix(former.stamp.transforms.index(transform))
    return None


def _rows(
    hashes: Sequence[str],
    vectors: Vectors,
    transform: Transform,
    former: Snapshot | None,
    matrix: Callable[[], Float32Array | None],
) -> Iterator[tuple[IntArray, Float32Array]]:
    """Yield rows of the matrix with their places: first those of a former matrix, then the rest from the database."""
    places = np.arange(len(hashes))
    if former is not None and (former_matrix := matrix()) is not None:
        row_of = {content_hash: row for row, content_hash in enumerate(former.table.hashes)}
        former_rows = np.array([row_of.get(content_hash, -1) for content_hash in hashes], np.int64)
        known, places = np.flatnonzero(former_rows >= 0), np.flatnonzero(former_rows < 0)
        for start in range(0, len(known), _BLOCK):
            part = known[start : start + _BLOCK]
            yield part, former_matrix[as_slice(former_rows[part])]
    for start in range(0, len(places), _BLOCK):
        part = places[start : start + _BLOCK]
        rows = transform.transform(vectors.embeddings([hashes[place] for place in part.tolist()]))
        if not np.isfinite(rows).all():
            raise IndexFileError(
                f"{vectors.source} holds vectors that are not finite. `lmm-classifier doctor` can repair the index."
            )
        yield part, rows


@dataclass(frozen=True)
class _Derived:
    """The vectors and the matrices of one version of an index, by the place of their encoder."""

    folder: Path
    state: State
    table: Table
    transforms: Sequence[Transform]
    snapshot: Snapshot | None
    matrices: Sequence[Float32Array]  # in memory, where there is no snapshot

    def blocks(self, encoder: int) -> Iterator[Array]:
        """Yield all vectors as they are stored, in blocks."""
        hashes = self.table.hashes
        with database.reading(self.folder) as connection:
            vectors = self.state.vectors(connection, str(self.folder))[encoder]
            for start in range(0, len(hashes), _BLOCK):
                yield vectors.stored(hashes[start : start + _BLOCK])

    def matrix(self, encoder: int) -> Float32Array:
        """Return a matrix. Opening the index only maps it; the first use checks it, which reads it whole."""
        if self.snapshot is None:
            return self.matrices[encoder]
        try:
            return self.snapshot.matrix(encoder)
        except IndexFileError as error:
            logger.warning("%s: %s. It is made again from the database.", self.folder, error)
        widths = [mapped.shape[1] for mapped in self.snapshot.mapped]
        rows = [partial(self._rows, place) for place in range(len(widths))]
        try:
            return write_snapshot(self.folder, self.state.stamp, self.table, widths, rows).mapped[encoder]
        except OSError:
            return rows_in_memory(len(self.table.paths), widths[encoder], rows[encoder])

    def _rows(self, encoder: int) -> Iterator[tuple[IntArray, Float32Array]]:
        start = 0
        for block in self.blocks(encoder):
            yield np.arange(start, start + len(block)), self.transforms[encoder].transform(as_embeddings(block))
            start += len(block)
