"""Similarities of queries to a shortlist of rows each, which an approximate search found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.gathering.gathered import UnreadLabels
from lmm_classifier.neighbors.rescoring import QueryRowPairs, number_rows
from lmm_classifier.neighbors.similarities import QueryForms, SimilaritiesBase

SHORTLIST = 500  # rows; of the ten nearest it misses one in some thousands (see benchmarks/search.py)
_LABELS, _OF_EACH = 4, 250  # labels with the nearest means, and rows of each, that are always compared
_MOST_OF_A_LABEL = 4096  # rows that are compared one by one where the shortlist has too few of a label


@dataclass(frozen=True)
class ShortlistSimilarities(SimilaritiesBase):
    """Queries compared with the rows found near each; see `protocols.Similarities`.

    n queries, N rows in the gallery, C labels, d numbers in a row. Cosines and means of labels are as exact as with
    all rows. But rows missing from the shortlist are not compared, and a label without any has no nearest row.
    In a graph with many distant labels the search often ends in the wrong label. So rows of the labels with the
    nearest means are always added.
    """

    matrix: Float32Array  # (N, d)
    label_ids: IntArray  # (N,)
    labels: int
    embeddings: Float32Array  # (n, d) directions of the queries
    forms: QueryForms
    pairs: QueryRowPairs  # the shortlists, rows ascending
    left_out: Sequence[IntArray]  # rows per query, or an empty list
    cosines_to_means: Float64Array  # (n, C); -inf where none of a label's rows is left
    distances: Float64Array  # (n, C) squared Euclidean, to the mean rows; inf where none is left
    unread: UnreadLabels = field(default_factory=UnreadLabels)  # what labels without a row on the shortlist have
    _top_k_means: dict[int, Float64Array] = field(default_factory=dict)  # by m; several experts need them

    @classmethod
    def of(
        cls,
        gallery: Gallery,
        queries: Float32Array,
        nearby: IntArray,
        left_out: Sequence[IntArray] = (),
        unread: UnreadLabels | None = None,
    ) -> ShortlistSimilarities:
        """Compare queries with the rows found near each, without the rows left out.

        Args:
            gallery: the rows.
            queries: (n, d).
            nearby: rows found near each query (n, r), -1 for none.
            left_out: rows to ignore, per query.
            unread: what is put for labels without a row on the shortlist; None: they have no nearest row.
        """
        embeddings, forms, to_means = gallery.prepare_queries(queries, left_out)
        means = to_means()
        lists = [
            np.union1d(rows[rows >= 0], rows_of_nearest_labels(gallery, cosines))
            for rows, cosines in zip(nearby, means[0])
        ]
        for query, rows_left_out in enumerate(left_out):
            lists[query] = np.setdiff1d(lists[query], rows_left_out)
        numbers, rows = number_rows(lists)
        pairs = QueryRowPairs(len(lists), numbers, rows, forms.cosines(gallery.embeddings, numbers, rows))
        rows_of_all, unread = (gallery.embeddings, gallery.label_ids, gallery.labels), unread or UnreadLabels()
        return cls(*rows_of_all, embeddings, forms, pairs, left_out, *means, unread)

    def __len__(self) -> int:
        return len(self.embeddings)

    def nearest_each(self, k: int) -> tuple[IntArray, Float64Array]:
        """Return the k nearest rows of every query (n, k) and their cosines; row -1, cosine -inf for missing ones."""
        return self.pairs.nearest(k)

    def nearest_among(self, wanted: Sequence[tuple[int, IntArray]], k: int) -> tuple[IntArray, Float64Array]:
        """Return the k nearest rows (w, k) and their cosines for w queries, each with the rows to choose from.

        Where the shortlist has fewer than k of the rows, all of them are compared, unless they are very many.
        """
        lists = []
        for query, rows in wanted:
            nearby = np.intersect1d(self._rows_of(query), rows)
            if len(nearby) < min(k, len(rows)) and len(rows) <= _MOST_OF_A_LABEL:
                nearby = np.setdiff1d(rows, self.left_out[query]) if len(self.left_out) else rows
            lists.append(nearby)
        numbers, rows = number_rows(lists)
        queries = np.array([query for query, _ in wanted], np.int64)[numbers]
        return QueryRowPairs(len(lists), numbers, rows, self.forms.cosines(self.matrix, queries, rows)).nearest(k)

    def _rows_of(self, query: int) -> IntArray:
        start, end = np.searchsorted(self.pairs.queries, [query, query + 1])
        return self.pairs.rows[start:end]

    def top_k_mean(self, m: int) -> Float64Array:
        """Return for each label the mean of its m best cosines (n, C); where the shortlist has none, `unread` says."""
        if m not in self._top_k_means:
            means = self.pairs.label_means(m, self.label_ids[self.pairs.rows], self.labels)
            self._top_k_means[m] = self.unread.filled(m, means, self.cosines_to_means)
        return self._top_k_means[m]

    def mean_cosines(self) -> Float64Array:
        """Return the cosines (n, C) to the mean row of each label; -inf where none of its rows is left."""
        return self.cosines_to_means

    def square_distances(self) -> Float64Array:
        """Return the squared Euclidean distances (n, C) to the mean row of each label; inf where none is left."""
        return self.distances


def rows_of_nearest_labels(gallery: Gallery, cosines: Float64Array) -> IntArray:
    """Return rows of the labels whose means have the highest of `cosines` (C,); of a large label an even sample."""
    labels = np.argsort(-cosines, kind="stable")[:_LABELS]
    samples = []
    for label in labels:
        rows = gallery.rows_of_label[label]
        samples.append(rows[:: max(-(-len(rows) // _OF_EACH), 1)])
    return np.concatenate([*samples, np.empty(0, np.int64)])
