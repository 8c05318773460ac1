"""Queries held against a shortlist of rows each: what an approximate search found near them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.protocols import FloatArray, IntArray
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.rescoring import Pairs
from lmm_classifier.neighbors.similarities import Forms

Doubles = NDArray[np.float64]

_LABELS, _OF_EACH = 4, 250  # labels whose means are nearest, and rows of each, that are compared in any case
_MOST_OF_A_LABEL = 4096  # rows that are compared one by one where the shortlist has too few of a label


@dataclass(frozen=True)
class ShortlistComparison:
    """Queries against the rows found near each; see `protocols.Comparison`.

    Cosines are as exact as those of all rows, and so are the means of the labels. But a row that the shortlist lacks
    is passed over, and a label of which it has none has no nearest row. A graph of many labels far apart from each
    other often ends in the wrong one, so rows of the labels with the nearest means are compared besides.
    """

    matrix: FloatArray  # (N, d)
    label_ids: IntArray  # (N,)
    labels: int
    units: FloatArray  # (n, d) directions of the queries
    forms: Forms
    pairs: Pairs  # the shortlists, rows ascending
    left_out: Sequence[IntArray]  # per query, or none at all
    cosines_to_means: Doubles  # (n, C); -inf where none of a label's rows is left
    distances: Doubles  # (n, C) squared Euclidean, to the mean rows; inf where none is left
    _kept: dict[str, tuple[Doubles, ...]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, gallery: Gallery, queries: FloatArray, found: IntArray, left_out: Sequence[IntArray] = ()
    ) -> ShortlistComparison:
        """Compare queries (n, d) with the rows `found` (n, r) near each, -1 for none, but those of its `left_out`."""
        units, forms, to_means = gallery.prepared(queries, left_out)
        means = to_means()
        lists = [np.union1d(row[row >= 0], _rows_near(gallery, cosines)) for row, cosines in zip(found, means[0])]
        for query, gone in enumerate(left_out):
            lists[query] = np.setdiff1d(lists[query], gone)
        numbers = np.repeat(np.arange(len(lists)), [len(rows) for rows in lists])
        rows = np.concatenate([*lists, np.empty(0, np.int64)])
        pairs = Pairs(len(lists), numbers, rows, forms.cosines(gallery.units, numbers, rows))
        return cls(gallery.units, gallery.label_ids, gallery.labels, units, forms, pairs, left_out, *means)

    def __len__(self) -> int:
        return len(self.units)

    def nearest(self, query: int, k: int, rows: IntArray | None = None) -> tuple[IntArray, Doubles]:
        """Return the k nearest rows and their cosines: nearest first, equal ones by row."""
        mine = self._rows_of(query)
        found, cosines = self.nearest_among([(query, mine if rows is None else rows)], k)
        there = found[0] >= 0
        return found[0, there], cosines[0, there]

    def nearest_each(self, k: int) -> tuple[IntArray, Doubles]:
        """Return the k nearest rows of every query (n, k) and their cosines; row -1, cosine -inf for missing ones."""
        return self.pairs.nearest(k)

    def nearest_among(self, wanted: Sequence[tuple[int, IntArray]], k: int) -> tuple[IntArray, Doubles]:
        """Return for each query with the rows to choose from its k nearest (w, k) and their cosines.

        Where the shortlist has less than k of the rows, they are all compared, unless they are very many.
        """
        found = []
        for query, rows in wanted:
            near = np.intersect1d(self._rows_of(query), rows)
            if len(near) < min(k, len(rows)) and len(rows) <= _MOST_OF_A_LABEL:
                near = np.setdiff1d(rows, self.left_out[query]) if len(self.left_out) else rows
            found.append(near)
        items = np.repeat(np.arange(len(found)), [len(rows) for rows in found])
        rows = np.concatenate([*found, np.empty(0, np.int64)])
        queries = np.array([query for query, _ in wanted], np.int64)[items]
        return Pairs(len(found), items, rows, self.forms.cosines(self.matrix, queries, rows)).nearest(k)

    def _rows_of(self, query: int) -> IntArray:
        start, end = np.searchsorted(self.pairs.queries, [query, query + 1])
        return self.pairs.rows[start:end]

    def top_mean(self, m: int) -> Doubles:
        """Return for each label the mean of its m best cosines (n, C); -inf where the shortlist has none."""
        if f"top {m}" not in self._kept:
            means = self.pairs.label_means(m, self.label_ids[self.pairs.rows], self.labels)
            self._kept[f"top {m}"] = (means,)
        return self._kept[f"top {m}"][0]

    def best_label(self) -> Doubles:
        """Return per query the largest mean of a label's nearest cosine and the cosine to its mean row."""
        return np.asarray(((self.top_mean(1) + self.mean_cosines()) / 2).max(axis=1, initial=-np.inf))

    def mean_cosines(self) -> Doubles:
        """Return the cosines (n, C) to the mean row of each label; -inf where none of its rows is left."""
        return self.cosines_to_means

    def square_distances(self) -> Doubles:
        """Return the squared Euclidean distances (n, C) to the mean row of each label; inf where none is left."""
        return self.distances


def _rows_near(gallery: Gallery, cosines: Doubles) -> IntArray:
    """Rows of the labels whose means have the highest of `cosines` (C,), of large labels an even pick."""
    labels = np.argsort(-cosines, kind="stable")[:_LABELS]
    rows = (gallery.rows_of_label[label] for label in labels)
    return np.concatenate([*(one[:: max(-(-len(one) // _OF_EACH), 1)] for one in rows), np.empty(0, np.int64)])
