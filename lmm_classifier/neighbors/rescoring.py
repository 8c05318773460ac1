"""Exact cosines of pairs of a query and a row, and the best pairs of each query.

A fast search with rounding errors finds which rows may be near. Its last bits depend on the batch. Reported cosines
and votes are computed here: each pair is summed by itself, in one order, whatever the other pairs and the threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray

_ROWS = 64  # taken at a time: 64 rows of 1,152 numbers fill 0.6 MB in float64, which stays in the cache
_LINE = 8  # float64 numbers in a cache line; each row starts at one, because libraries may sum unaligned rows otherwise
_COLUMNS = 8192  # summed at a time: from 10,000 on, matrix libraries use several threads, and so another order


@dataclass(frozen=True)
class QueryRowPairs:
    """P pairs of a query and a row, with their cosines, ordered by query. The n queries are 0 to count - 1."""

    count: int  # n
    queries: IntArray  # (P,) ascending
    rows: IntArray  # (P,)
    cosines: Float64Array  # (P,)

    def nearest(self, k: int) -> tuple[IntArray, Float64Array]:
        """Return the k nearest rows of each query (n, k) and their cosines: nearest first, equal cosines by row.

        Row -1 with cosine -inf stands where a query has fewer rows.
        """
        rows, cosines = np.full((self.count, k), -1, np.int64), np.full((self.count, k), -np.inf)
        order = np.lexsort((self.rows, -self.cosines, self.queries))
        queries = self.queries[order]
        place = ranks(queries)
        best = place < k
        rows[queries[best], place[best]] = self.rows[order[best]]
        cosines[queries[best], place[best]] = self.cosines[order[best]]
        return rows, cosines

    def label_means(self, m: int, label_ids: IntArray, labels: int) -> Float64Array:
        """Return the mean of the m best cosines for each query and each of C labels (n, C); -inf without a pair.

        `label_ids` (P,) are the labels of the rows.
        """
        group = self.queries * labels + label_ids
        rows, cosines = self.rows, self.cosines
        if (group[1:] < group[:-1]).any():
            order = np.lexsort((rows, group))
            group, rows, cosines = group[order], rows[order], cosines[order]
        counts = np.bincount(group, minlength=self.count * labels)
        is_best = np.ones(len(group), bool)
        if len(more := np.flatnonzero(counts[group] > m)):  # only these are sorted: most groups hold just m
            order = more[np.lexsort((rows[more], -cosines[more], group[more]))]
            is_best[order[ranks(group[order]) >= m]] = False
        totals = np.bincount(group[is_best], cosines[is_best], self.count * labels)
        means = np.where(counts > 0, totals / np.clip(counts, 1, m), -np.inf)
        return np.asarray(means.reshape(self.count, labels))


def number_rows(lists: Sequence[IntArray]) -> tuple[IntArray, IntArray]:
    """Join lists of rows: return for each of P rows the number of its list (P,), and the rows (P,)."""
    numbers = np.repeat(np.arange(len(lists)), [len(rows) for rows in lists])
    return numbers, np.concatenate([*lists, np.empty(0, np.int64)])


def ranks(groups: IntArray) -> IntArray:
    """Return the place of each element within its group, 0, 1, ..., for ascending group numbers (P,)."""
    return np.arange(len(groups)) - np.searchsorted(groups, groups)


def dots(matrix: Float32Array, forms: NDArray[np.floating], queries: IntArray, rows: IntArray) -> Float64Array:
    """Return forms[queries] . matrix[rows] (P,) for forms (n, d) and a matrix (N, d), summed in float64.

    It is fast where equal queries follow each other.
    """
    width = matrix.shape[1]
    values, result = np.asarray(matrix), np.empty(len(rows))
    taken = np.empty((_ROWS, width), np.float32)
    block, form = _aligned(_ROWS, width), _aligned(1, width)
    for start, end in _pieces(queries):  # two threads were no faster: they wait for each other between the pieces
        count = end - start
        np.take(values, rows[start:end], axis=0, out=taken[:count], mode="clip")
        block[:count, :width] = taken[:count]
        form[0, :width] = forms[queries[start]]
        result[start:end] = _products(block[:count], form)
    return result


def _pieces(queries: IntArray) -> list[tuple[int, int]]:
    """Return the start and end of runs of pairs with one query, each so short that it stays in the cache."""
    ends = [*(np.flatnonzero(np.diff(queries)) + 1).tolist(), len(queries)]
    starts = [0, *ends[:-1]]
    return [(first, min(first + _ROWS, end)) for start, end in zip(starts, ends) for first in range(start, end, _ROWS)]


def _products(block: Float64Array, form: Float64Array) -> Float64Array:
    """Return block (m, d) . form (1, d), one dot product per row (m,)."""
    total = np.zeros(len(block))
    for start in range(0, block.shape[1], _COLUMNS):
        part = slice(start, start + _COLUMNS)
        total += np.matmul(block[:, None, part], form[0, part, None])[:, 0, 0]
    return total


def _aligned(count: int, width: int) -> Float64Array:
    """Return zeros (count, width and up to 7 more); every row starts at a cache line."""
    padded = -(-width // _LINE) * _LINE
    memory = np.zeros(count * padded + _LINE)
    start = -(memory.ctypes.data // memory.itemsize) % _LINE
    return memory[start : start + count * padded].reshape(count, padded)
