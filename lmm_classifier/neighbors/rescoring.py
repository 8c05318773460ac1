"""Pairs of a query and a row that may be near it: their cosines, exact to float64, and the best of them.

Which rows may be near is found by fast arithmetic whose last bits depend on the batch. What is reported or voted with
comes from here: each pair is summed by itself, in one order, whatever the other pairs and the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.protocols import FloatArray, IntArray

Doubles = NDArray[np.float64]

_ROWS = 64  # taken at a time: 64 rows of 1,152 numbers fill 0.6 MB in float64, which stays in the cache
_LINE = 8  # float64 in a cache line: rows begin at one, so that no library sums them differently for where they lie
_COLUMNS = 8192  # summed at a time: matrix libraries use several threads, and so another order, from 10,000 on


@dataclass(frozen=True)
class Pairs:
    """Pairs (P,) in the order of their queries 0..count-1, and their cosines."""

    count: int  # of queries, n
    queries: IntArray  # (P,) ascending
    rows: IntArray  # (P,)
    cosines: Doubles  # (P,)

    def nearest(self, k: int) -> tuple[IntArray, Doubles]:
        """Return per query its k nearest rows (n, k) and their cosines: nearest first, equal ones by row.

        Where there are fewer, the rest is row -1 with cosine -inf.
        """
        rows, cosines = np.full((self.count, k), -1, np.int64), np.full((self.count, k), -np.inf)
        order = np.lexsort((self.rows, -self.cosines, self.queries))
        queries = self.queries[order]
        place = ranks(queries)
        best = place < k
        rows[queries[best], place[best]] = self.rows[order[best]]
        cosines[queries[best], place[best]] = self.cosines[order[best]]
        return rows, cosines

    def label_means(self, m: int, label_ids: IntArray, labels: int) -> Doubles:
        """Return per query and label the mean of the m best cosines (n, C); -inf where there is no pair.

        `label_ids` (P,) are the labels of the rows.
        """
        group = self.queries * labels + label_ids
        rows, cosines = self.rows, self.cosines
        if (group[1:] < group[:-1]).any():
            order = np.lexsort((rows, group))
            group, rows, cosines = group[order], rows[order], cosines[order]
        counts = np.bincount(group, minlength=self.count * labels)
        kept = np.ones(len(group), bool)
        if len(more := np.flatnonzero(counts[group] > m)):  # only these are sorted: most groups hold just m
            order = more[np.lexsort((rows[more], -cosines[more], group[more]))]
            kept[order[ranks(group[order]) >= m]] = False
        totals = np.bincount(group[kept], cosines[kept], self.count * labels)
        means = np.where(counts > 0, totals / np.clip(counts, 1, m), -np.inf)
        return np.asarray(means.reshape(self.count, labels))


def ranks(groups: IntArray) -> IntArray:
    """Return for ascending group numbers (P,) the place of each within its group: 0, 1, ..."""
    return np.arange(len(groups)) - np.searchsorted(groups, groups)


def dots(matrix: FloatArray, forms: NDArray[np.floating], queries: IntArray, rows: IntArray) -> Doubles:
    """Return forms[queries] . matrix[rows] (P,) for forms (n, d) and a matrix (N, d), summed in float64.

    Quick where equal queries follow each other.
    """
    width = matrix.shape[1]
    values, result = np.asarray(matrix), np.empty(len(rows))
    taken = np.empty((_ROWS, width), np.float32)
    block, form = _aligned(_ROWS, width), _aligned(1, width)
    for start, end in _pieces(queries):  # two threads were no quicker: they wait for each other between the pieces
        count = end - start
        np.take(values, rows[start:end], axis=0, out=taken[:count], mode="clip")
        block[:count, :width] = taken[:count]
        form[0, :width] = forms[queries[start]]
        result[start:end] = _products(block[:count], form)
    return result


def _pieces(queries: IntArray) -> list[tuple[int, int]]:
    """Stretches of pairs that have one query, cut so short that they stay in the cache."""
    ends = [*(np.flatnonzero(np.diff(queries)) + 1).tolist(), len(queries)]
    starts = [0, *ends[:-1]]
    return [(first, min(first + _ROWS, end)) for start, end in zip(starts, ends) for first in range(start, end, _ROWS)]


def _products(block: Doubles, form: Doubles) -> Doubles:
    """Return block (m, d) . form (1, d), one dot product per row, (m,)."""
    total = np.zeros(len(block))
    for start in range(0, block.shape[1], _COLUMNS):
        part = slice(start, start + _COLUMNS)
        total += np.matmul(block[:, None, part], form[0, part, None])[:, 0, 0]
    return total


def _aligned(count: int, width: int) -> Doubles:
    """Zeros (count, width and up to 7 more), every row at the beginning of a cache line."""
    padded = -(-width // _LINE) * _LINE
    memory = np.zeros(count * padded + _LINE)
    start = -(memory.ctypes.data // memory.itemsize) % _LINE
    return memory[start : start + count * padded].reshape(count, padded)
