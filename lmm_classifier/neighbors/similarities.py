"""Queries held against all rows of a gallery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.protocols import FloatArray, IntArray
from lmm_classifier.neighbors.rescoring import Pairs, dots

Doubles = NDArray[np.float64]

_GROUPS = 32  # for each of the k wanted: rarely are two of the nearest in one group

ToMeans = Callable[[], tuple[Doubles, Doubles]]


@dataclass(frozen=True)
class Grouping:
    """Rows in the order of their labels."""

    order: IntArray  # (N,) rows by label, ascending within one
    place: IntArray  # (N,) where each row is in `order`
    counts: IntArray  # (C,) rows of each label
    in_order: bool  # whether the rows are so already, as those of a corpus in folders are

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
class Forms:
    """What a row's cosine with each query is computed by: (form . row - offset) / norm of the row."""

    forms: NDArray[np.floating]  # (n, d)
    offsets: Doubles | None = None  # (n,); None: no offset, and all norms are 1
    inverse_norms: Doubles | None = None  # (N,)

    def cosines(self, matrix: FloatArray, queries: IntArray, rows: IntArray) -> Doubles:
        """Return the cosines (P,) of pairs, exact to float64."""
        found = dots(matrix, self.forms, queries, rows)
        if self.offsets is None or self.inverse_norms is None:
            return found
        return np.asarray((found - self.offsets[queries]) * self.inverse_norms[rows])


@dataclass(frozen=True)
class GalleryComparison:
    """Queries against all rows of a gallery; see `protocols.Comparison`.

    One matrix product in float32 finds who may be near. Its last bits depend on the batch, so whatever is reported or
    voted with is computed again in float64, row by row.
    """

    matrix: FloatArray  # (N, d)
    label_ids: IntArray  # (N,)
    grouping: Grouping
    units: FloatArray  # (n, d) directions of the queries
    forms: Forms
    similarities: FloatArray  # (n, N) columns in `grouping.order`, -inf where left out; off by up to the tolerance
    tolerances: FloatArray  # (n,)
    to_means: ToMeans  # cosines and squared distances (n, C) to the mean rows
    _kept: dict[str, tuple[Any, ...]] = field(default_factory=dict)  # asked for by several voices

    def __len__(self) -> int:
        return len(self.units)

    def nearest(self, query: int, k: int, rows: IntArray | None = None) -> tuple[IntArray, Doubles]:
        """Return the k nearest rows and their cosines, exact to float64: nearest first, equal ones by row."""
        found, cosines = self.nearest_among([(query, self.grouping.order if rows is None else rows)], k)
        there = found[0] >= 0
        return found[0, there], cosines[0, there]

    def nearest_each(self, k: int) -> tuple[IntArray, Doubles]:
        """Return the k nearest rows of every query (n, k) and their cosines; row -1, cosine -inf where none is left."""
        near = self.similarities
        k = min(k, near.shape[1])
        if not k or not len(near):
            return np.empty((len(near), 0), np.int64), np.empty((len(near), 0))
        if "nearest" not in self._kept or self._kept["nearest"][0].shape[1] < k:
            limits = _kth_largest(near, k) - self.tolerances
            self._kept["nearest"] = self._pairs((near >= limits[:, None]) & np.isfinite(near)).nearest(k)
        rows, cosines = self._kept["nearest"]
        return rows[:, :k], cosines[:, :k]

    def nearest_among(self, wanted: Sequence[tuple[int, IntArray]], k: int) -> tuple[IntArray, Doubles]:
        """Return for each query with the rows to choose from its k nearest (w, k) and their cosines.

        Row -1 with cosine -inf where there are fewer. `wanted` comes in the order of the queries.
        """
        found = [self._near(query, k, rows) for query, rows in wanted]
        items = np.repeat(np.arange(len(found)), [len(rows) for rows in found])
        rows = np.concatenate([*found, np.empty(0, np.int64)])
        queries = np.array([query for query, _ in wanted], np.int64)
        cosines = self.forms.cosines(self.matrix, queries[items], rows)
        return Pairs(len(wanted), items, rows, cosines).nearest(k)

    def _near(self, query: int, k: int, rows: IntArray) -> IntArray:
        near = self.similarities[query, self.grouping.place[rows]]
        if not len(near) or not k:
            return np.empty(0, np.int64)
        place = max(len(near) - k, 0)
        limit = np.partition(near, place)[place] - self.tolerances[query]
        return np.asarray(rows[(near >= limit) & np.isfinite(near)])

    def best_label(self) -> Doubles:
        """Return per query (n,) the largest mean of a label's nearest cosine and the cosine to its mean row."""
        means = self.mean_cosines()
        roughly = (self._mth_largest(1) + means) / 2  # off by up to half the tolerance
        best = roughly.max(axis=1, initial=-np.inf)
        may = (roughly >= (best - self.tolerances)[:, None]) & np.isfinite(roughly)
        queries, labels = np.nonzero(may)
        starts, ends = self.grouping.starts, np.cumsum(self.grouping.counts)
        rows = [self.grouping.order[starts[label] : ends[label]] for label in labels]
        cosines = self.nearest_among(list(zip(queries.tolist(), rows)), 1)[1][:, 0]
        found: Doubles = np.full(len(self), -np.inf)
        np.maximum.at(found, queries, (cosines + means[queries, labels]) / 2)
        return found

    def top_mean(self, m: int) -> Doubles:
        """Return for each label the mean of its m best cosines (n, C); -inf where none is left."""
        if (known := self._kept.get(f"top {m}")) is not None:
            return np.asarray(known[0])
        near = self.similarities
        limits = self._mth_largest(m) - self.tolerances[:, None]  # (n, C)
        may = near >= np.repeat(limits, self.grouping.counts, axis=1)
        if np.isneginf(limits).any():
            may &= np.isfinite(near)
        pairs = self._pairs(may)
        means = pairs.label_means(m, self.label_ids[pairs.rows], len(self.grouping.counts))
        self._kept[f"top {m}"] = (means,)
        return means

    def _mth_largest(self, m: int) -> FloatArray:
        """The m-th largest of each label (n, C), or the least where there are fewer; -inf for no rows."""
        counts, starts = self.grouping.counts, self.grouping.starts
        limits = np.full((len(self), len(counts)), -np.inf, np.float32)
        there = np.flatnonzero(counts)
        if m == 1 and len(there):
            limits[:, there] = np.maximum.reduceat(self.similarities, starts[there], axis=1)
            return limits
        for label in there:
            part = self.similarities[:, starts[label] : starts[label] + counts[label]]
            place = max(part.shape[1] - m, 0)
            limits[:, label] = np.partition(part, place, axis=1)[:, place]
        return limits

    def mean_cosines(self) -> Doubles:
        """Return the cosines (n, C) to the mean row of each label; -inf where none of its rows is left."""
        return self._means()[0]

    def square_distances(self) -> Doubles:
        """Return the squared Euclidean distances (n, C) to the mean row of each label; inf where none is left."""
        return self._means()[1]

    def _means(self) -> tuple[Doubles, ...]:
        if "means" not in self._kept:
            self._kept["means"] = self.to_means()
        return self._kept["means"]

    def _pairs(self, may: NDArray[np.bool_]) -> Pairs:
        """The pairs (n, N) that may be near, with their cosines; rows of a label ascend."""
        queries, places = np.divmod(np.flatnonzero(may), max(may.shape[1], 1))
        rows = self.grouping.order[places]
        return Pairs(len(self), queries, rows, self.forms.cosines(self.matrix, queries, rows))


def _kth_largest(near: FloatArray, k: int) -> FloatArray:
    """The k-th largest of each row (n, N), or a little less where that is quicker to find, (n,).

    Any k numbers will do, so the largest of each of many groups are looked at. A group takes every so manieth number,
    because the nearest rows often lie side by side.
    """
    groups = _GROUPS * k
    if near.shape[1] >= 4 * groups:
        near = near[:, : near.shape[1] // groups * groups].reshape(len(near), -1, groups).max(axis=1)
    place = near.shape[1] - k
    return np.asarray(np.partition(near, place, axis=1)[:, place])
