"""Similarities of queries to all rows of a gallery, and what all kinds of similarities have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
from lmm_classifier.neighbors.rescoring import QueryRowPairs, dots, number_rows

_GROUPS = 32  # for each of the k wanted rows: two of the nearest are rarely in one group

ToMeans = Callable[[], tuple[Float64Array, Float64Array]]  # computes cosines and squared distances (n, C) to the means


class SimilaritiesBase(ABC):
    """The methods of `protocols.Similarities` that follow from the others. n queries, N rows, C labels."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of queries, n."""

    @abstractmethod
    def nearest_among(self, wanted: Sequence[tuple[int, IntArray]], k: int) -> tuple[IntArray, Float64Array]:
        """Return the k nearest rows (w, k) and their cosines for w queries, each with the rows to choose from."""

    @abstractmethod
    def top_k_mean(self, m: int) -> Float64Array:
        """Return for each label the mean of its m best cosines (n, C)."""

    @abstractmethod
    def mean_cosines(self) -> Float64Array:
        """Return the cosines (n, C) to the mean row of each label."""

    @abstractmethod
    def _rows_of(self, query: int) -> IntArray:
        """Return the rows with which a query is compared."""

    def nearest(self, query: int, k: int, rows: IntArray | None = None) -> tuple[IntArray, Float64Array]:
        """Return the k nearest rows (of `rows`, if given) and their cosines: nearest first, equal cosines by row."""
        nearest, cosines = self.nearest_among([(query, self._rows_of(query) if rows is None else rows)], k)
        exists = nearest[0] >= 0
        return nearest[0, exists], cosines[0, exists]

    def best_label(self) -> Float64Array:
        """Return per query (n,) the largest mean of a label's nearest cosine and the cosine to its mean row."""
        return np.asarray(((self.top_k_mean(1) + self.mean_cosines()) / 2).max(axis=1, initial=-np.inf))


@dataclass(frozen=True)
class Grouping:
    """N rows in the order of their C labels."""

    order: IntArray  # (N,) rows by label, ascending within one
    place: IntArray  # (N,) where each row is in `order`
    counts: IntArray  # (C,) rows of each label
    in_order: bool  # whether the rows are sorted by label already, as those of a dataset in folders are

    @classmethod
    def of(cls, label_ids: IntArray, labels: int) -> Grouping:
        """Group rows by their labels (N,), numbers below `labels`."""
        order = np.argsort(label_ids, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        in_order = bool((order == np.arange(len(order))).all())
        return cls(order, place, np.bincount(label_ids, minlength=labels), in_order)

    @property
    def starts(self) -> IntArray:
        """Where each label begins in `order`, (C,)."""
        return np.cumsum(self.counts) - self.counts


@dataclass(frozen=True)
class QueryForms:
    """Queries in the form that is multiplied with rows: cosine = (form . row - offset) / norm of the row.

    n queries, N rows, d numbers each. Without offsets the form is the query itself, and all norms are 1.
    """

    forms: NDArray[np.floating]  # (n, d)
    offsets: Float64Array | None = None  # (n,)
    inverse_norms: Float64Array | None = None  # (N,)

    def cosines(self, matrix: Float32Array, queries: IntArray, rows: IntArray) -> Float64Array:
        """Return the cosines (P,) of P pairs, exact to float64."""
        products = dots(matrix, self.forms, queries, rows)
        if self.offsets is None or self.inverse_norms is None:
            return products
        return np.asarray((products - self.offsets[queries]) * self.inverse_norms[rows])


@dataclass(frozen=True)
class GallerySimilarities(SimilaritiesBase):
    """Queries compared with all rows of a gallery; see `protocols.Similarities`.

    n queries, N rows, C labels, d numbers in a row. One matrix product in float32 finds which rows may be near. Its
    last bits depend on the batch. So reported cosines and votes are computed again in float64, row by row.
    """

    matrix: Float32Array  # (N, d)
    label_ids: IntArray  # (N,)
    grouping: Grouping
    embeddings: Float32Array  # (n, d) directions of the queries
    forms: QueryForms
    similarities: Float32Array  # (n, N) columns in `grouping.order`, -inf where left out; errors up to the tolerance
    tolerances: Float32Array  # (n,)
    to_means: ToMeans
    _cache: dict[str, tuple[Any, ...]] = field(default_factory=dict)  # results that several experts need

    def __len__(self) -> int:
        return len(self.embeddings)

    def _rows_of(self, query: int) -> IntArray:  # noqa: ARG002
        return self.grouping.order

    def nearest_each(self, k: int) -> tuple[IntArray, Float64Array]:
        """Return the k nearest rows of every query (n, k) and their cosines; row -1, cosine -inf where none is left."""
        k = min(k, self.similarities.shape[1])
        if not k or not len(self):
            return np.empty((len(self), 0), np.int64), np.empty((len(self), 0))
        if "nearest" not in self._cache or self._cache["nearest"][0].shape[1] < k:
            limits = _kth_largest(self.similarities, k) - self.tolerances
            may_be_near = (self.similarities >= limits[:, None]) & np.isfinite(self.similarities)
            self._cache["nearest"] = self._pairs(may_be_near).nearest(k)
        rows, cosines = self._cache["nearest"]
        return rows[:, :k], cosines[:, :k]

    def nearest_among(self, wanted: Sequence[tuple[int, IntArray]], k: int) -> tuple[IntArray, Float64Array]:
        """Return the k nearest rows (w, k) and their cosines for w queries, each with the rows to choose from.

        Row -1 with cosine -inf stands where there are fewer. `wanted` is in the order of the queries.
        """
        numbers, rows = number_rows([self._rows_that_may_be_near(query, k, rows) for query, rows in wanted])
        queries = np.array([query for query, _ in wanted], np.int64)
        cosines = self.forms.cosines(self.matrix, queries[numbers], rows)
        return QueryRowPairs(len(wanted), numbers, rows, cosines).nearest(k)

    def _rows_that_may_be_near(self, query: int, k: int, rows: IntArray) -> IntArray:
        similarities = self.similarities[query, self.grouping.place[rows]]
        if not len(similarities) or not k:
            return np.empty(0, np.int64)
        place = max(len(similarities) - k, 0)
        limit = np.partition(similarities, place)[place] - self.tolerances[query]
        return np.asarray(rows[(similarities >= limit) & np.isfinite(similarities)])

    def best_label(self) -> Float64Array:
        """Return per query (n,) the largest mean of a label's nearest cosine and the cosine to its mean row.

        Only the labels that may be best are computed exactly.
        """
        means = self.mean_cosines()
        approximate = (self._mth_largest(1) + means) / 2  # errors up to half the tolerance
        best = approximate.max(axis=1, initial=-np.inf)
        may_be_best = (approximate >= (best - self.tolerances)[:, None]) & np.isfinite(approximate)
        queries, labels = np.nonzero(may_be_best)
        starts, ends = self.grouping.starts, np.cumsum(self.grouping.counts)
        rows = [self.grouping.order[starts[label] : ends[label]] for label in labels]
        cosines = self.nearest_among(list(zip(queries.tolist(), rows)), 1)[1][:, 0]
        scores: Float64Array = np.full(len(self), -np.inf)
        np.maximum.at(scores, queries, (cosines + means[queries, labels]) / 2)
        return scores

    def top_k_mean(self, m: int) -> Float64Array:
        """Return for each label the mean of its m best cosines (n, C); -inf where none is left."""
        if (cached := self._cache.get(f"top {m}")) is not None:
            return np.asarray(cached[0])
        limits = self._mth_largest(m) - self.tolerances[:, None]  # (n, C)
        may_be_near = self.similarities >= np.repeat(limits, self.grouping.counts, axis=1)
        if np.isneginf(limits).any():
            may_be_near &= np.isfinite(self.similarities)
        pairs = self._pairs(may_be_near)
        means = pairs.label_means(m, self.label_ids[pairs.rows], len(self.grouping.counts))
        self._cache[f"top {m}"] = (means,)
        return means

    def _mth_largest(self, m: int) -> Float32Array:
        """Return the m-th largest similarity of each label (n, C), or the least of fewer; -inf for no rows."""
        counts, starts = self.grouping.counts, self.grouping.starts
        limits = np.full((len(self), len(counts)), -np.inf, np.float32)
        with_rows = np.flatnonzero(counts)
        if m == 1 and len(with_rows):
            limits[:, with_rows] = np.maximum.reduceat(self.similarities, starts[with_rows], axis=1)
            return limits
        for label in with_rows:
            part = self.similarities[:, starts[label] : starts[label] + counts[label]]
            place = max(part.shape[1] - m, 0)
            limits[:, label] = np.partition(part, place, axis=1)[:, place]
        return limits

    def mean_cosines(self) -> Float64Array:
        """Return the cosines (n, C) to the mean row of each label; -inf where none of its rows is left."""
        return self._compared_with_means()[0]

    def square_distances(self) -> Float64Array:
        """Return the squared Euclidean distances (n, C) to the mean row of each label; inf where none is left."""
        return self._compared_with_means()[1]

    def _compared_with_means(self) -> tuple[Float64Array, ...]:
        if "means" not in self._cache:
            self._cache["means"] = self.to_means()
        return self._cache["means"]

    def _pairs(self, may_be_near: BoolArray) -> QueryRowPairs:
        """Return the pairs that `may_be_near` (n, N) marks, with their cosines; rows of a label ascend."""
        queries, places = np.divmod(np.flatnonzero(may_be_near), max(may_be_near.shape[1], 1))
        rows = self.grouping.order[places]
        return QueryRowPairs(len(self), queries, rows, self.forms.cosines(self.matrix, queries, rows))


def _kth_largest(similarities: Float32Array, k: int) -> Float32Array:
    """Return the k-th largest similarity of each query (n,), or a little less where that is faster, for (n, N).

    Any k numbers give a valid limit, so the largest of each of many groups are taken. A group takes numbers at equal
    distances, because the nearest rows are often next to each other.
    """
    groups = _GROUPS * k
    if similarities.shape[1] >= 4 * groups:
        whole = similarities[:, : similarities.shape[1] // groups * groups]
        similarities = whole.reshape(len(whole), -1, groups).max(axis=1)
    place = similarities.shape[1] - k
    return np.asarray(np.partition(similarities, place, axis=1)[:, place])
