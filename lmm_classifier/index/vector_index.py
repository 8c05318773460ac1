"""Exact cosine search: every query is compared with every example."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.datatypes import Example, Fingerprint, Neighbor
from lmm_classifier.core.errors import ConfigError, IndexFileError
from lmm_classifier.core.protocols import FloatArray, IntArray, Space
from lmm_classifier.embeddings.whitening import restore
from lmm_classifier.index.contents import Contents
from lmm_classifier.index.formats import read_index
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.storage.columns import Column, Labels
from lmm_classifier.index.storage.state import as_units
from lmm_classifier.neighbors.brute_force import NearestRows
from lmm_classifier.neighbors.gallery import Gallery, directions
from lmm_classifier.neighbors.similarities import GalleryComparison

# Rows from which the nearest are found by 8-bit candidates. At 20,000 x 1152 these answer in half the time, one query
# or many, and to make them (0.2 s) is paid back by some tens of queries; at 5,000 it is a tie.
SEARCH_FROM = 20_000
_QUERIES = 1024  # at a time


class ExactIndex:
    """The examples of a corpus and their vectors in the search space, in memory or memory-mapped."""

    def __init__(self, contents: Contents, space: Space, matrix: FloatArray | None = None) -> None:
        self.manifest: Manifest = contents.manifest
        self.space = space
        self.hashes = contents.hashes
        labels = Labels.of(contents.labels)
        self.label_names: Sequence[str] = labels.names
        self.label_ids: IntArray = labels.ids
        self.contents = contents
        self._matrix = matrix

    @cached_property
    def examples(self) -> Sequence[Example]:
        """The examples, in the order of the rows."""
        paths, labels = self.contents.paths, self.contents.labels
        return Column(
            len(self),
            lambda row: Example(paths[row], labels[row]),
            lambda: [Example(path, label) for path, label in zip(paths, labels)],
        )

    @cached_property
    def gallery(self) -> Gallery:
        """The rows in the search space. A durable index checks them when they are first needed."""
        matrix = self._matrix
        if matrix is None:
            assert self.contents.search_matrix is not None
            matrix = self.contents.search_matrix()
        return Gallery(matrix, self.label_ids, len(self.label_names))

    @cached_property
    def _rows_of_hash(self) -> Mapping[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for row, content_hash in enumerate(self.hashes):
            found[content_hash].append(row)
        return found

    @classmethod
    def open(cls, path: Path, encoder: Fingerprint | None = None) -> ExactIndex:
        """Open the index at `path`; raises IndexMismatchError if `encoder` is given and did not make its vectors."""
        contents = read_index(path)
        if encoder is not None:
            contents.manifest.require(encoder, str(path))
        space = restore(contents.manifest.space, contents.space_state)
        if contents.search_matrix is not None:
            return cls(contents, space)
        return cls(contents, space, _search_matrix(contents, space, path))

    def __len__(self) -> int:
        return len(self.hashes)

    def vectors(self) -> FloatArray:
        """Read the vectors (N, dim) as the encoder made them."""
        return np.concatenate([as_units(block) for block in self.contents.vector_blocks()])

    def rows_of(self, label_id: int) -> IntArray:
        """Rows of one label, ascending."""
        return self.gallery.rows_of_label[label_id]

    def compare(self, vectors: FloatArray, leave_out: Sequence[str | None] | None = None) -> GalleryComparison:
        """Compare encoder vectors (n, dim) with every row; see `protocols.VectorIndex`."""
        return self.gallery.compare(self.queries(vectors), self.rows_of_contents(leave_out or ()))

    def queries(self, vectors: FloatArray) -> FloatArray:
        """Take encoder vectors (n, dim) into the search space; raises ValueError where they are of another shape."""
        if vectors.ndim != 2 or vectors.shape[1] != self.manifest.fingerprint.dim:
            raise ValueError(f"expected vectors (n, {self.manifest.fingerprint.dim}), got {vectors.shape}")
        return self.space.transform(vectors)

    def rows_of_contents(self, hashes: Sequence[str | None]) -> list[IntArray]:
        """Rows of each content hash, none for None."""
        found = ([] if one is None else self._rows_of_hash.get(one, []) for one in hashes)
        return [np.array(rows, dtype=np.int64) for rows in found]

    def search(
        self, vectors: FloatArray, k: int, leave_out: Sequence[str | None] | None = None
    ) -> list[list[Neighbor]]:
        """Find the k nearest examples of each encoder vector (n, dim), nearest first."""
        queries, left_out = self.queries(vectors), self.rows_of_contents(leave_out or ())
        step = _QUERIES if len(self) >= SEARCH_FROM else self.gallery.queries_at_once
        found: list[list[Neighbor]] = []
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            rows, cosines = self._nearest(queries[part], k, left_out[part])
            found += [self.neighbors(near[near >= 0], one[near >= 0]) for near, one in zip(rows, cosines)]
        return found

    def _nearest(
        self, queries: FloatArray, k: int, left_out: Sequence[IntArray]
    ) -> tuple[IntArray, NDArray[np.float64]]:
        if len(self) < SEARCH_FROM:
            return self.gallery.compare(queries, left_out).nearest_each(k)
        spare = max(map(len, left_out), default=0)  # as many may be among the nearest that are not wanted
        rows, cosines = self._nearest_rows.search(directions(queries)[0], k + spare)
        for query, gone in enumerate(left_out):
            kept = ~np.isin(rows[query], gone)
            rows[query] = np.concatenate([rows[query, kept], np.full((~kept).sum(), -1)])
            cosines[query] = np.concatenate([cosines[query, kept], np.full((~kept).sum(), -np.inf)])
        return rows[:, :k], cosines[:, :k]

    @cached_property
    def _nearest_rows(self) -> NearestRows:
        return NearestRows(self.gallery.units)

    def neighbors(self, rows: IntArray, similarities: NDArray[np.float64]) -> list[Neighbor]:
        """Name the examples of `rows`, each together with its similarity."""
        return [Neighbor(self.examples[row], float(near)) for row, near in zip(rows, similarities)]

    def only(self, labels: Iterable[str]) -> ExactIndex:
        """Return the index of just these labels; raises ConfigError naming labels that have no example."""
        wanted = set(labels)
        if strangers := sorted(wanted - set(self.label_names)):
            known = ", ".join(self.label_names[:20]) + (" ..." if len(self.label_names) > 20 else "")
            raise ConfigError(f"labels: {', '.join(map(repr, strangers))} not in the index, which knows {known}")
        rows = np.flatnonzero(np.array([name in wanted for name in self.label_names])[self.label_ids])
        return ExactIndex(self._part(rows), self.space, self.gallery.units[rows])

    def without(self, rows: IntArray) -> ExactIndex:
        """Return the index as it would be without these rows, its space fitted anew to the others."""
        left = np.setdiff1d(np.arange(len(self)), rows)
        vectors = self.vectors()[left]
        space = self.space.recipe.fit(lambda: [vectors])
        return ExactIndex(self._part(left), space, space.transform(vectors))

    def _part(self, rows: IntArray) -> Contents:
        part = self.contents
        labels, paths, hashes = list(part.labels), list(part.paths), list(part.hashes)
        return replace(
            part,
            labels=[labels[row] for row in rows],
            paths=[paths[row] for row in rows],
            hashes=[hashes[row] for row in rows],
            manifest=replace(part.manifest, count=len(rows)),
            vector_blocks=lambda: [self.vectors()[rows]],
            calibration=None,
            search_matrix=None,
        )


def _search_matrix(contents: Contents, space: Space, path: Path) -> FloatArray:
    """Take the stored vectors into the search space, block by block; (N, d) float32 unit rows."""
    matrix: FloatArray | None = None
    start = 0
    for block in contents.vector_blocks():
        rows = space.transform(as_units(block))
        if matrix is None:
            matrix = np.empty((contents.manifest.count, rows.shape[1]), np.float32)
        matrix[start : start + len(rows)] = rows
        start += len(rows)
    if matrix is None or not np.isfinite(matrix).all():
        raise IndexFileError(f"{path}: holds vectors that are not finite; rebuild it with `lmm-classifier build`")
    return matrix
