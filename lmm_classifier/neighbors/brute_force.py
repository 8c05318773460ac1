"""Exact search of the nearest rows in a large matrix, block by block and on all cores.

A fast product gives approximate scores with a bound on their error. Rows that certainly are not among the k nearest
are ruled out, and the few others are computed exactly. So no row is ever missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
from lmm_classifier.core.concurrency import cpu_count
from lmm_classifier.neighbors.int8 import Int8Block, Int8Queries, is_available
from lmm_classifier.neighbors.rescoring import QueryRowPairs, dots, ranks

_ROWS = 8192  # of a block
_SCORES = 1 << 21  # of queries with a block at a time: 8 MB
# From so many rows on, blocks are four times as large. glibc returns temporary copies of 38 MB to the system but keeps
# those below 32 MB in its heap, in all as much memory as the blocks themselves.
_MANY = 500_000
_GROUPS = 32  # for each of the k wanted rows: two of the nearest are rarely in one group
_MOST = 4000  # candidates of one query; for more it is faster to compute all its products in float32
_PAIRS = 1 << 22  # candidates of all queries together: 100 MB
_FLOAT_ERROR = 1e-5  # of products of normalized vectors in float32; a hundred times the error seen


class _TooManyCandidatesError(Exception):
    """There are too many candidates to search all queries at once."""


class Block(Protocol):
    """Some rows of the matrix, ready to be multiplied."""

    @property
    def count(self) -> int:
        """The number of rows."""

    def errors(self, queries: Any) -> Float32Array:
        """Return for each query (n,) the largest possible error of its scores."""

    def scores(self, queries: Any) -> Float32Array:
        """Return approximate products (n, count) with queries."""


@dataclass(frozen=True)
class FloatBlock:
    """Rows as they are, multiplied in float32. b rows, d numbers each."""

    rows: Float32Array  # (b, d)

    @property
    def count(self) -> int:
        """The number of rows, b."""
        return len(self.rows)

    def errors(self, queries: Float32Array) -> Float32Array:
        """Return for each query (n,) the largest possible error of its scores."""
        return np.full(len(queries), _FLOAT_ERROR, np.float32)

    def scores(self, queries: Float32Array) -> Float32Array:
        """Return approximate products (n, b) with queries."""
        return np.asarray(queries @ self.rows.T)


class BruteForceSearch:
    """Finds the nearest of N normalized rows (N, d), exactly.

    With the extra `search`, candidates come from products of 8-bit integers. They need a quarter of the matrix in
    additional memory. Without it candidates come from float32.
    """

    def __init__(self, embeddings: Float32Array, int8: bool | None = None) -> None:
        self._embeddings = embeddings
        size = _ROWS if len(embeddings) < _MANY else 4 * _ROWS
        self._queries_at_once = _SCORES // size
        self._floats = [FloatBlock(embeddings[start : start + size]) for start in range(0, len(embeddings), size)]
        self._int8: list[Int8Block] = []
        if is_available() if int8 is None else int8:
            with ThreadPoolExecutor(cpu_count()) as pool:
                self._int8 = list(pool.map(lambda block: Int8Block(block.rows), self._floats))

    def search(self, queries: Float32Array, k: int) -> tuple[IntArray, Float64Array]:
        """Return the k nearest rows of normalized queries (n, d) and their cosines, both (n, min(k, N)).

        Nearest first, equal cosines by row. Cosines are exact to float64 and do not depend on the batch.

        Raises:
            ValueError: a number in the queries is not finite.
        """
        if not np.isfinite(queries).all():
            raise ValueError("a query holds numbers that are not finite")
        k = min(k, len(self._embeddings))
        rows, cosines = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
        for start in range(0, len(queries) if k else 0, self._queries_at_once):
            part = slice(start, start + self._queries_at_once)
            rows[part], cosines[part] = self._search(queries[part], k)
        return rows, cosines

    def _search(self, queries: Float32Array, k: int) -> tuple[IntArray, Float64Array]:
        try:
            return self._search_at_once(queries, k)
        except _TooManyCandidatesError:  # where most rows are equally near, fewer queries at once need less memory
            half = len(queries) // 2
            parts = [self._search(queries[:half], k), self._search(queries[half:], k)]
            return np.concatenate([rows for rows, _ in parts]), np.concatenate([cosines for _, cosines in parts])

    def _search_at_once(self, queries: Float32Array, k: int) -> tuple[IntArray, Float64Array]:
        if not self._int8:
            return self._exact(queries, k, _candidates(self._floats, queries, k))
        candidates = _candidates(self._int8, Int8Queries.of(queries), k)
        counts = np.bincount(candidates.queries, minlength=len(queries))
        is_many = counts > max(_MOST, 2 * k)
        rows, cosines = self._exact(queries, k, candidates.of(~is_many))
        if is_many.any():
            float_candidates = _candidates(self._floats, queries[is_many], k)
            rows[is_many], cosines[is_many] = self._exact(queries[is_many], k, float_candidates)
        return rows, cosines

    def _exact(self, queries: Float32Array, k: int, candidates: Candidates) -> tuple[IntArray, Float64Array]:
        """Compute the k most likely candidates, rule out those that cannot reach them, and compute the others."""
        candidates = candidates.taken(np.lexsort((-candidates.scores, candidates.queries)))
        is_likely = ranks(candidates.queries) < k
        likely = self._pairs(queries, candidates.taken(is_likely))
        limits = np.full(len(queries), -np.inf)
        limits[likely.queries] = np.inf
        np.minimum.at(limits, likely.queries, likely.cosines)  # the k-th best is at least this
        may_reach = ~is_likely & (candidates.upper_bounds >= limits[candidates.queries])
        others = self._pairs(queries, candidates.taken(may_reach))
        return QueryRowPairs(
            len(queries),
            np.concatenate([likely.queries, others.queries]),
            np.concatenate([likely.rows, others.rows]),
            np.concatenate([likely.cosines, others.cosines]),
        ).nearest(k)

    def _pairs(self, queries: Float32Array, candidates: Candidates) -> QueryRowPairs:
        cosines = dots(self._embeddings, queries, candidates.queries, candidates.rows)
        return QueryRowPairs(len(queries), candidates.queries, candidates.rows, cosines)


@dataclass(frozen=True)
class Candidates:
    """P pairs of a query and a row, their scores, and the highest cosines that the scores allow."""

    queries: IntArray  # (P,)
    rows: IntArray  # (P,)
    scores: Float32Array  # (P,)
    upper_bounds: Float32Array  # (P,)

    def taken(self, which: NDArray[Any]) -> Candidates:
        """Return some of the pairs, by a mask or by numbers."""
        return Candidates(self.queries[which], self.rows[which], self.scores[which], self.upper_bounds[which])

    def of(self, wanted: BoolArray) -> Candidates:
        """Return the pairs of the queries that `wanted` (n,) marks."""
        return self.taken(wanted[self.queries])


def _candidates(blocks: Sequence[Block], queries: Any, k: int) -> Candidates:
    """Return every row that may be among the k nearest of a query."""
    starts = np.cumsum([0, *(block.count for block in blocks)])
    errors = [block.errors(queries) for block in blocks]
    limits_so_far = _Limits(2 * np.max(errors, axis=0, initial=0), k)

    def search_block(number: int) -> tuple[IntArray, IntArray, Float32Array, Float32Array]:
        scores = blocks[number].scores(queries)
        limits = limits_so_far.updated(scores)
        places = np.flatnonzero(scores >= limits[:, None])
        if limits_so_far.count(len(places)) > _PAIRS and len(limits) > 1:
            raise _TooManyCandidatesError
        query_numbers, rows = np.divmod(places, scores.shape[1])
        high_scores = scores.ravel()[places]
        return query_numbers, rows + starts[number], high_scores, high_scores + errors[number][query_numbers]

    parts = list(_on_all_cores(search_block, len(blocks)))
    candidates = Candidates(*(np.concatenate(arrays) for arrays in zip(*parts)))
    return candidates.taken(candidates.scores >= limits_so_far.current()[candidates.queries])


def _on_all_cores(search_block: Callable[[int], Any], count: int) -> Iterator[Any]:
    if cpu_count() < 2 or count < 2:
        yield from map(search_block, range(count))
        return
    with ThreadPoolExecutor(min(cpu_count(), count)) as pool:
        yield from pool.map(search_block, range(count))


class _Limits:
    """The least score of a candidate for each of n queries; it rises with every block.

    Certainly k rows reach the k-th best score so far minus the error. A row whose score plus the error is lower is not
    among the k nearest.
    """

    def __init__(self, twice_the_error: Float32Array, k: int) -> None:
        self._twice_the_error = twice_the_error  # (n,)
        self._best = np.full((len(twice_the_error), k), -np.inf, np.float32)
        self._lock = Lock()
        self._count = 0

    def count(self, more: int) -> int:
        """Count `more` candidates, and return their number so far."""
        with self._lock:
            self._count += more
            return self._count

    def updated(self, scores: Float32Array) -> Float32Array:
        """Take the scores (n, b) of a block into account, and return the new limits (n,)."""
        k = self._best.shape[1]
        groups = _GROUPS * k
        best = scores
        if scores.shape[1] >= 2 * groups:  # any k numbers give a valid limit: the largest of many groups are enough
            best = scores[:, : scores.shape[1] // groups * groups].reshape(len(scores), -1, groups).max(axis=1)
        with self._lock:
            both = np.concatenate([self._best, best], axis=1)
            self._best = np.partition(both, both.shape[1] - k, axis=1)[:, both.shape[1] - k :]
            return self.current()

    def current(self) -> Float32Array:
        """Return the limits (n,) by all blocks so far."""
        return np.asarray(self._best.min(axis=1) - self._twice_the_error)
