"""Exact search of the nearest rows in a large matrix, block by block and on all cores.

A quick product says roughly how near each row is, and how wrong that can be at most. So rows that cannot be among the
k nearest are ruled out for certain, and the few others are computed exactly: no row is ever missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.concurrency import processors
from lmm_classifier.core.protocols import FloatArray, IntArray
from lmm_classifier.neighbors.int8 import Int8Block, Int8Queries, is_available
from lmm_classifier.neighbors.rescoring import Pairs, dots, ranks

Doubles = NDArray[np.float64]

_ROWS = 8192  # of a block
_SCORES = 1 << 21  # of queries with a block at a time: 8 MB
# From so many rows on blocks are four times as large: copies of 38 MB are given back to the system while the heap of
# glibc keeps those below 32 MB, in all as much as the blocks themselves.
_MANY = 500_000
_GROUPS = 32  # for each of the k wanted: rarely are two of the nearest in one group
_MOST = 4000  # candidates of one query; from there on it is quicker to compute all its products in float32
_PAIRS = 1 << 22  # candidates of all queries together: 100 MB
_FLOAT_ERROR = 1e-5  # of products in float32 of unit vectors; a hundred times what was seen


class _TooManyError(Exception):
    """There are too many candidates to look at all queries at once."""


class Block(Protocol):
    """Some rows of the matrix, ready to be multiplied."""

    @property
    def count(self) -> int:
        """The number of rows."""

    def errors(self, queries: Any) -> FloatArray:
        """How far a score of each query (n,) may be from the true product."""

    def scores(self, queries: Any) -> FloatArray:
        """Products (n, count) with queries, nearly."""


@dataclass(frozen=True)
class FloatBlock:
    """Rows as they are, multiplied in float32."""

    rows: FloatArray  # (b, d)

    @property
    def count(self) -> int:
        """The number of rows, b."""
        return len(self.rows)

    def errors(self, queries: FloatArray) -> FloatArray:
        """How far a score of each query (n,) may be from the true product."""
        return np.full(len(queries), _FLOAT_ERROR, np.float32)

    def scores(self, queries: FloatArray) -> FloatArray:
        """Products (n, b) with queries, nearly."""
        return np.asarray(queries @ self.rows.T)


class NearestRows:
    """Finds the nearest of unit rows (N, d), exactly.

    With the extra `search` candidates come from products of 8-bit integers, for which a fourth of the matrix is kept
    in memory besides; without it from float32.
    """

    def __init__(self, units: FloatArray, int8: bool | None = None) -> None:
        self._units = units
        size = _ROWS if len(units) < _MANY else 4 * _ROWS
        self._queries_at_once = max(_SCORES // size, 1)
        self._floats = [FloatBlock(units[start : start + size]) for start in range(0, len(units), size)]
        self._int8: list[Int8Block] = []
        if is_available() if int8 is None else int8:
            with ThreadPoolExecutor(processors()) as pool:
                self._int8 = list(pool.map(lambda block: Int8Block(block.rows), self._floats))

    def search(self, queries: FloatArray, k: int) -> tuple[IntArray, Doubles]:
        """Return the k nearest rows of unit queries (n, d) and their cosines, both (n, min(k, N)).

        Nearest first, equal ones by row; cosines are exact to float64, whatever the batch.
        """
        if not np.isfinite(queries).all():
            raise ValueError("a query holds numbers that are not finite")
        k = min(k, len(self._units))
        rows, cosines = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
        for start in range(0, len(queries) if k else 0, self._queries_at_once):
            part = slice(start, start + self._queries_at_once)
            rows[part], cosines[part] = self._search(queries[part], k)
        return rows, cosines

    def _search(self, queries: FloatArray, k: int) -> tuple[IntArray, Doubles]:
        try:
            return self._at_once(queries, k)
        except _TooManyError:  # where most rows are equally near: fewer queries then, so that memory suffices
            half = len(queries) // 2
            parts = [self._search(queries[:half], k), self._search(queries[half:], k)]
            return np.concatenate([rows for rows, _ in parts]), np.concatenate([cosines for _, cosines in parts])

    def _at_once(self, queries: FloatArray, k: int) -> tuple[IntArray, Doubles]:
        if not self._int8:
            return self._exact(queries, k, _candidates(self._floats, queries, k))
        found = _candidates(self._int8, Int8Queries.of(queries), k)
        counts = np.bincount(found.queries, minlength=len(queries))
        rows, cosines = self._exact(queries, k, found.of(counts <= max(_MOST, 2 * k)))
        many = np.flatnonzero(counts > max(_MOST, 2 * k))
        if len(many):
            again = _candidates(self._floats, queries[many], k)
            rows[many], cosines[many] = self._exact(queries[many], k, again)
        return rows, cosines

    def _exact(self, queries: FloatArray, k: int, found: Candidates) -> tuple[IntArray, Doubles]:
        """Compute the k likeliest candidates, rule out those that cannot reach them, and compute the others."""
        order = np.lexsort((-found.scores, found.queries))
        found = found.taken(order)
        likely = ranks(found.queries) < k
        first = self._pairs(queries, found.taken(likely))
        least = np.full(len(queries), -np.inf)
        least[first.queries] = np.inf
        np.minimum.at(least, first.queries, first.cosines)  # the k-th best is at least this
        rest = self._pairs(queries, found.taken(~likely & (found.reach >= least[found.queries])))
        both = (
            np.concatenate([getattr(one, name) for one in (first, rest)]) for name in ("queries", "rows", "cosines")
        )
        return Pairs(len(queries), *both).nearest(k)

    def _pairs(self, queries: FloatArray, found: Candidates) -> Pairs:
        return Pairs(len(queries), found.queries, found.rows, dots(self._units, queries, found.queries, found.rows))


@dataclass(frozen=True)
class Candidates:
    """Pairs (P,) of a query and a row, their scores, and the highest cosines that those allow."""

    queries: IntArray
    rows: IntArray
    scores: FloatArray
    reach: FloatArray

    def taken(self, which: NDArray[Any]) -> Candidates:
        """Some of them."""
        return Candidates(self.queries[which], self.rows[which], self.scores[which], self.reach[which])

    def of(self, wanted: NDArray[np.bool_]) -> Candidates:
        """Those of the queries wanted (n,)."""
        return self.taken(wanted[self.queries])


def _candidates(blocks: Sequence[Block], queries: Any, k: int) -> Candidates:
    """Every row that may be among the k nearest of a query."""
    starts = np.cumsum([0, *(block.count for block in blocks)])
    errors = [block.errors(queries) for block in blocks]
    twice = 2 * np.max(errors, axis=0, initial=0)  # (n,)
    reach = _Reach(twice, k)

    def look(number: int) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
        scores = blocks[number].scores(queries)
        limits = reach.limits(scores)
        places = np.flatnonzero(scores >= limits[:, None])
        if reach.count(len(places)) > _PAIRS and len(limits) > 1:
            raise _TooManyError
        who, rows = np.divmod(places, scores.shape[1])
        near = scores.ravel()[places]
        return who, rows + starts[number], near, near + errors[number][who]

    parts = list(_on_all_cores(look, len(blocks)))
    found = Candidates(*(np.concatenate(one) for one in zip(*parts)))
    return found.taken(found.scores >= reach.least()[found.queries])


def _on_all_cores(look: Callable[[int], Any], count: int) -> Iterator[Any]:
    if processors() < 2 or count < 2:
        yield from map(look, range(count))
        return
    with ThreadPoolExecutor(min(processors(), count)) as pool:
        yield from pool.map(look, range(count))


class _Reach:
    """What a row must at least score to be a candidate: rises with every block that was looked at.

    The k-th best score so far, less the error, is reached by k rows for certain; a row whose score, plus the error, is
    below that is not among the k nearest.
    """

    def __init__(self, twice: FloatArray, k: int) -> None:
        self._twice = twice  # (n,) twice the error
        self._best = np.full((len(twice), k), -np.inf, np.float32)
        self._lock = Lock()
        self._count = 0

    def count(self, more: int) -> int:
        """Count candidates; returns how many there are so far."""
        with self._lock:
            self._count += more
            return self._count

    def limits(self, scores: FloatArray) -> FloatArray:
        """Look at the scores (n, b) of a block; returns the limits (n,) from now on."""
        k = self._best.shape[1]
        groups = _GROUPS * k
        best = scores
        if scores.shape[1] >= 2 * groups:  # any k numbers make a limit, so the largest of many groups will do
            best = scores[:, : scores.shape[1] // groups * groups].reshape(len(scores), -1, groups).max(axis=1)
        with self._lock:
            both = np.concatenate([self._best, best], axis=1)
            self._best = np.partition(both, both.shape[1] - k, axis=1)[:, both.shape[1] - k :]
            return self.least()

    def least(self) -> FloatArray:
        """The limits (n,) by all blocks so far."""
        return np.asarray(self._best.min(axis=1) - self._twice)
