"""The rows of an index in memory behind `protocols.RowStore`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import cached_property

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.rows import ColumnName, RowBlock
from lmm_classifier.index.backends.row_ranges import label_starts, padded, require_labels, require_rows
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.brute_force import BruteForceSearch

_ROWS = 8192  # in a block


class MemoryRowStore:
    """The rows of an opened index, in the order of label and content; one row for each content and label.

    Its search is exact. `norms` (N,) are those of the index's examples in a metric, where rows are to have them.

    Example:
        >>> import numpy as np
        >>> from lmm_classifier import Index
        >>> from lmm_classifier.index.backends.memory_rows import MemoryRowStore
        >>> store = MemoryRowStore(Index.from_vectors(np.eye(3), ["cat", "dog", "cat"]))
        >>> store.nearest(np.eye(3, dtype=np.float32)[:1], k=1)[1].tolist()
        [[1.0]]
    """

    def __init__(self, index: Index, norms: Float64Array | None = None) -> None:
        self._index = index
        hashes, labels = np.array(index.hashes, np.str_), index.label_ids
        paths = np.array(index.contents.paths, object)
        order = np.lexsort((paths.astype(np.str_), hashes, labels))
        is_new = np.ones(len(order), bool)
        is_new[1:] = (labels[order][1:] != labels[order][:-1]) | (hashes[order][1:] != hashes[order][:-1])
        self._rows: IntArray = order[is_new]  # the examples of the index that the rows are
        self._order, self._firsts = order, np.append(np.flatnonzero(is_new), len(order))  # all, and where a row begins
        self._label_ids = labels[self._rows]
        self._norms = norms
        self.label_names: Sequence[str] = index.label_names
        self.counts: IntArray = np.bincount(self._label_ids, minlength=len(self.label_names)).astype(np.int64)
        self._starts = label_starts(self.counts)

    def with_norms(
        self, metric: str, norms: Callable[[Float32Array], Float64Array], *, store: bool = True
    ) -> MemoryRowStore:
        """Return the same rows with their norms in a metric, which are computed now; nothing is stored."""
        del metric, store
        rows = copy(self)
        rows._norms = np.asarray(norms(self._index.gallery.embeddings), np.float64)
        return rows

    def sums(self) -> None:
        """Return None: the rows are read fast."""

    @property
    def has_norms(self) -> bool:
        """Whether rows have their norms in a metric."""
        return self._norms is not None

    @cached_property
    def version(self) -> str:
        """Identifies rows and search."""
        digest = hashlib.blake2b(self._vectors.tobytes(), digest_size=16)
        digest.update("\0".join((*self.label_names, *self._contents)).encode("utf-8", "surrogatepass"))
        digest.update(self._label_ids.tobytes())
        return f"{digest.hexdigest()} exact"

    @cached_property
    def _vectors(self) -> Float32Array:
        return self._index.gallery.embeddings[self._rows]

    @cached_property
    def _contents(self) -> list[str]:
        return [self._index.hashes[row] for row in self._rows.tolist()]

    @cached_property
    def _ids_of_content(self) -> dict[str, list[int]]:
        ids: dict[str, list[int]] = {}
        for number, content in enumerate(self._contents):
            ids.setdefault(content, []).append(number)
        return ids

    @cached_property
    def means(self) -> Float64Array:
        """The mean vector of each label, (C, d)."""
        sums = [_sum(self._vectors[start:end]) for start, end in zip(self._starts[:-1], self._starts[1:])]
        return np.asarray(np.stack(sums) / np.maximum(self.counts, 1)[:, None])

    @cached_property
    def _search(self) -> BruteForceSearch:
        return BruteForceSearch(self._vectors)

    def nearest(self, queries: Float32Array, k: int) -> tuple[IntArray, Float64Array]:
        """Return ids (n, k) of the nearest rows of normalized queries (n, d), and their cosines."""
        return padded(*self._search.search(queries, k), k)

    def rows_of_labels(
        self, label_ids: IntArray, columns: Sequence[ColumnName] = ("vectors",), most: int | None = None
    ) -> Iterator[RowBlock]:
        """Read all rows of some labels, in blocks, by id; at most `most` of each label: those of the lowest content."""
        for label in require_labels(label_ids, len(self.counts)).tolist():
            start, end = int(self._starts[label]), int(self._starts[label + 1])
            yield from self._blocks(start, end if most is None else min(start + most, end), columns)

    def rows_of_contents(self, contents: Sequence[str], columns: Sequence[ColumnName] = ("contents",)) -> RowBlock:
        """Read the rows whose images have one of these SHA-256, by id."""
        ids = {number for content in contents for number in self._ids_of_content.get(content, [])}
        return self.rows_of_ids(np.array(sorted(ids), np.int64), columns)

    def rows_of_ids(self, ids: IntArray, columns: Sequence[ColumnName]) -> RowBlock:
        """Read rows by their ids, in this order; raise KeyError where there is no such row."""
        require_rows(ids, len(self._rows))
        rows = self._rows[ids]
        if "norms" in columns and self._norms is None:
            raise ValueError("these rows have no norms: no metric was given")
        return RowBlock(
            ids=np.asarray(ids, np.int64),
            label_ids=self._label_ids[ids],
            vectors=self._vectors[ids] if "vectors" in columns else None,
            contents=[self._contents[number] for number in ids.tolist()] if "contents" in columns else None,
            paths=[self._index.contents.paths[row] for row in rows.tolist()] if "paths" in columns else None,
            norms=self._norms[rows] if "norms" in columns and self._norms is not None else None,
            all_paths=[self._all_paths(number) for number in ids.tolist()] if "all_paths" in columns else None,
        )

    def _all_paths(self, number: int) -> list[str]:
        examples = self._order[self._firsts[number] : self._firsts[number + 1]]
        return [self._index.contents.paths[row] for row in examples.tolist()]

    def blocks(self, columns: Sequence[ColumnName]) -> Iterator[RowBlock]:
        """Read all rows once, in the order of label and content."""
        yield from self._blocks(0, len(self._rows), columns)

    def _blocks(self, start: int, end: int, columns: Sequence[ColumnName]) -> Iterator[RowBlock]:
        for first in range(start, end, _ROWS):
            yield self.rows_of_ids(np.arange(first, min(first + _ROWS, end)), columns)


def _sum(rows: Float32Array) -> Float64Array:
    total = np.zeros(rows.shape[1])
    for start in range(0, len(rows), 4096):
        total += rows[start : start + 4096].astype(np.float64).sum(axis=0)
    return total
