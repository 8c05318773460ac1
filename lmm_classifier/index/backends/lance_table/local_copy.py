"""A whole table as the contents of an index: one version is copied once into the user's cache, and mapped from there.

This is for tables of up to some millions of rows, which then answer as any other index does, bit for bit.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.protocols import Transform
from lmm_classifier.core.user_cache import user_cache
from lmm_classifier.embeddings.whitening import IdentityTransform, transform_from_arrays
from lmm_classifier.index.backends.lance_table.about import About
from lmm_classifier.index.backends.lance_table.calibrations import get_calibration
from lmm_classifier.index.backends.lance_table.columns import hexadecimal, vectors_of
from lmm_classifier.index.backends.lance_table.datasets import translated
from lmm_classifier.index.backends.lance_table.finishing import finished
from lmm_classifier.index.backends.lance_table.layout import ABOUT_VERSION, vector_column
from lmm_classifier.index.contents import Array, EncoderVectors, IndexContents
from lmm_classifier.index.storage.columns import Labels
from lmm_classifier.index.storage.npz import require_inside
from lmm_classifier.index.storage.snapshot import Snapshot, Stamp, read_snapshot, rows_in_memory, write_snapshot
from lmm_classifier.index.storage.state import as_embeddings
from lmm_classifier.index.storage.table import Table

logger: logging.Logger = logging.getLogger(__name__)

_FOLDER = "tables"  # in the user's cache
_MOST = 100 << 30  # bytes of all copies; the ones that were not used for the longest time are removed
_BLOCK = 1024
_READ = 8192  # rows read at a time


def read_table(url: str) -> IndexContents:
    """Return the contents of the finished table at `url`; raise IndexFileError where there is none."""
    found = finished(url)
    if found is None:
        raise IndexFileError(f"There is no finished table at {url}. Build one with `lmm-classifier build`.")
    dataset, about = found
    number = int(dataset.schema.metadata[ABOUT_VERSION.encode()])
    transforms = [
        transform_from_arrays(entry.transform, arrays)
        for entry, arrays in zip(about.manifest.encoders, about.extras.transforms, strict=True)
    ]
    matrices = [_Matrix(place, None) for place in range(len(transforms))]
    is_exact = about.extras.dtype == "float32"
    matrices += [
        _Matrix(place, transform)
        for place, transform in enumerate(transforms)
        if not (is_exact and isinstance(transform, IdentityTransform))
    ]
    copy = _copied(_folder_of(url), number, _Reader(url, dataset, about), matrices)
    calibration, calibrated = get_calibration(url)
    return IndexContents(
        manifest=about.manifest,
        labels=copy.table.labels,
        paths=copy.table.paths,
        hashes=copy.table.hashes,
        vectors=tuple(
            EncoderVectors(
                about.extras.transforms[place],
                partial(copy.blocks, place, about.extras.dtype),
                partial(copy.search_matrix, place),
            )
            for place in range(len(transforms))
        ),
        dtype=np.dtype(about.extras.dtype),
        calibration=calibration,
        transforms_are_current=about.extras.transforms_are_current,
        dismissals=about.extras.dismissals,
        milliseconds=about.extras.milliseconds,
        groups=about.extras.groups,
        stamp=f"{about.version} {calibrated}",
    )


@dataclass(frozen=True)
class _Matrix:
    """What one matrix of a copy holds: the vectors of an encoder as they are stored, or as they are compared."""

    encoder: int
    transform: Transform | None  # None: as they are stored

    def of(self, vectors: Float32Array, dtype: str) -> Float32Array:
        """Return the rows (n, d) of stored vectors (n, dim)."""
        if self.transform is None:
            return vectors
        return self.transform.transform(as_embeddings(vectors.astype(dtype)))


@dataclass
class _Copy:
    """A copy of a table, mapped from files or in memory."""

    table: Table
    matrices: Sequence[_Matrix]
    snapshot: Snapshot | None
    in_memory: Sequence[Float32Array] = ()
    again: Callable[[], _Copy] | None = None  # makes the copy once more, where files may be damaged

    def matrix(self, number: int) -> Float32Array:
        """Return a matrix (N, d); a mapped one is checked on the first use, which reads it whole."""
        if self.snapshot is None:
            return self.in_memory[number]
        try:
            return self.snapshot.matrix(number)
        except IndexFileError as error:
            if self.again is None:
                raise
            logger.warning("%s. The copy is made again from the table.", error)
            made, self.again = self.again(), None
            self.snapshot, self.in_memory = made.snapshot, made.in_memory
        return self.matrix(number)

    def search_matrix(self, encoder: int) -> Float32Array:
        """Return the rows that are compared, those of an encoder."""
        numbers = [number for number, matrix in enumerate(self.matrices) if matrix.encoder == encoder]
        return self.matrix(numbers[-1])

    def blocks(self, encoder: int, dtype: str) -> Iterator[Array]:
        """Yield the vectors of an encoder as they are stored."""
        rows = self.matrix(encoder)
        for start in range(0, len(rows), _BLOCK):
            yield rows[start : start + _BLOCK].astype(dtype, copy=False)


def _copied(folder: Path | None, number: int, reader: _Reader, matrices: Sequence[_Matrix]) -> _Copy:
    """Return the copy in a folder, which is made where it is not there, damaged, or of another version."""
    stamp = _stamp(reader.about, number, matrices)
    make = partial(_made, folder, stamp, reader, matrices)
    former = None if folder is None else read_snapshot(folder, number)
    if folder is None or former is None or former.stamp != stamp:
        return make()
    with suppress(OSError):
        os.utime(folder)  # it was used just now
    return _Copy(former.table, matrices, former, again=make)


def _made(folder: Path | None, stamp: Stamp, reader: _Reader, matrices: Sequence[_Matrix]) -> _Copy:
    """Read the table; copy it into files, or into memory where none can be written."""
    examples = reader.examples()
    table = examples.table
    require_inside(table.paths, reader.url, reader.about.manifest.has_images)
    rows = [partial(_rows, reader, examples.places_of_row, examples.first_of_row, matrix) for matrix in matrices]
    widths = [_width(matrix, reader.about) for matrix in matrices]
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            snapshot = write_snapshot(folder, stamp, table, widths, rows)
        except OSError as error:
            logger.warning("%s is held in memory, because its copy cannot be written: %s", reader.url, error)
        else:
            with suppress(OSError):
                _remove_others(folder)
            return _Copy(table, matrices, snapshot)
    held = [rows_in_memory(len(table.paths), *matrix) for matrix in zip(widths, rows)]
    return _Copy(table, matrices, None, held)


def _width(matrix: _Matrix, about: About) -> int:
    """Return how many numbers a row of a matrix has."""
    probe = np.eye(1, about.manifest.fingerprints[matrix.encoder].dim, dtype=np.float32)
    return int(matrix.of(probe, about.extras.dtype).shape[1])


def _stamp(about: About, number: int, matrices: Sequence[_Matrix]) -> Stamp:
    names = [f"{about.manifest.space_ids[matrix.encoder]} {matrix.transform is None}" for matrix in matrices]
    return Stamp(about.version, number, about.digest, 0, tuple(zlib.crc32(name.encode()) for name in names))


def _rows(
    reader: _Reader, places: IntArray, firsts: IntArray, matrix: _Matrix
) -> Iterator[tuple[IntArray, Float32Array]]:
    """Yield the rows of a matrix with their places: those of a row for each of its examples."""
    for start, vectors in reader.vectors(matrix.encoder):
        if not np.isfinite(vectors).all():
            raise IndexFileError(f"{reader.url} holds vectors that are not finite. Build it again.")
        ends = firsts[start : start + len(vectors) + 1]
        yield (
            places[ends[0] : ends[-1]],
            np.repeat(matrix.of(vectors, reader.about.extras.dtype), np.diff(ends), axis=0),
        )


def _folder_of(url: str) -> Path | None:
    cache, digest = user_cache(), hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
    return None if cache is None else cache / _FOLDER / digest[:32]


def _remove_others(folder: Path) -> None:
    """Remove copies of other tables, those first that were not used for the longest time, until all fit."""
    others = sorted((path for path in folder.parent.iterdir() if path != folder), key=lambda path: path.stat().st_mtime)
    sizes = {path: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in (*others, folder)}
    total = sum(sizes.values())
    for path in others:
        if total <= _MOST:
            return
        shutil.rmtree(path, ignore_errors=True)
        total -= sizes[path]


@dataclass(frozen=True)
class _Examples:
    """The N examples of a table of R rows, in the order of their ids, and where those of a row are."""

    table: Table
    places_of_row: IntArray  # (N,) place of each example, in the order of the rows
    first_of_row: IntArray  # (R + 1,) where the places of a row begin


@dataclass(frozen=True)
class _Reader:
    """Reads the opened rows of the table at `url`."""

    url: str
    dataset: Any
    about: About

    def examples(self) -> _Examples:
        """Return all examples, one for each id of a row; raise IndexFileError where two have the same id."""
        paths, hashes = list[str](), list[str]()
        labels, counts = list[IntArray](), list[IntArray]()
        for batch in self._batches(["label", "content", "paths"]):
            ids = batch["paths"].to_pylist()
            paths += [path for of_row in ids for path in of_row]
            counts.append(np.array([len(of_row) for of_row in ids], np.int64))
            hashes += hexadecimal(batch["content"])
            labels.append(batch["label"].to_numpy().astype(np.int64))
        counted = np.concatenate([np.empty(0, np.int64), *counts])
        self._require_complete(len(counted), len(paths))
        order = np.array(sorted(range(len(paths)), key=paths.__getitem__), np.int64)
        places = np.empty(len(order), np.int64)
        places[order] = np.arange(len(order))
        row_of = np.repeat(np.arange(len(counted)), counted)[order].tolist()
        ids = [paths[number] for number in order.tolist()]
        if (again := next((one for one, other in pairwise(ids) if one == other), None)) is not None:
            raise IndexFileError(f"{self.url} has two examples with the id {again!r}. Build it again.")
        numbers = np.concatenate(labels)[row_of]
        table = Table(Labels(list(self.about.label_names), numbers), ids, [hashes[row] for row in row_of])
        return _Examples(table, places, np.concatenate([[0], np.cumsum(counted)]))

    def vectors(self, encoder: int) -> Iterator[tuple[int, Float32Array]]:
        """Yield the number of the first row and the vectors (n, dim) of each block."""
        column, dim = vector_column(encoder), self.about.manifest.fingerprints[encoder].dim
        start = 0
        for batch in self._batches([column]):
            yield start, vectors_of(batch[column], dim)
            start += batch.num_rows

    def _batches(self, columns: list[str]) -> Iterator[Any]:
        with translated(self.url):
            yield from self.dataset.scanner(columns=columns, batch_size=_READ, scan_in_order=True).to_batches()

    def _require_complete(self, rows: int, examples: int) -> None:
        if (rows, examples) != (self.about.rows, self.about.manifest.count):
            raise IndexFileError(
                f"{self.url} has {rows} rows with {examples} examples, but {self.about.rows} with "
                f"{self.about.manifest.count} were written. Build it again."
            )
