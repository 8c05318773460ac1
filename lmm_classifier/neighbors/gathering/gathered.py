"""Similarities of queries to rows that were gathered for each of them: those of the labels that compete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
from lmm_classifier.neighbors.gallery import ProjectedMetric
from lmm_classifier.neighbors.rescoring import QueryRowPairs, dots
from lmm_classifier.neighbors.similarities import SimilaritiesBase

_ROWS = 16_384  # multiplied at a time


@dataclass(frozen=True)
class UnreadLabels:
    """What is put for the mean of the m best cosines of a label of which no row was read.

    It is a line in the cosine to the mean row of the label, fitted to labels that compete as little: offset + slope x
    cosine. The same line serves for calibration and for answers. Without one such a label has no evidence (-inf).
    """

    lines: Mapping[int, tuple[float, float]] = field(default_factory=dict)  # m -> offset, slope

    def filled(self, m: int, means: Float64Array, cosines_to_means: Float64Array) -> Float64Array:
        """Return `means` (n, C) with the line where they are -inf although the label has rows."""
        if m not in self.lines:
            return means
        offset, slope = self.lines[m]
        missing = np.isneginf(means) & np.isfinite(cosines_to_means)
        return np.where(missing, np.clip(offset + slope * np.where(missing, cosines_to_means, 0), -1, 1), means)

    @classmethod
    def fit(cls, examples: Mapping[int, tuple[Float64Array, Float64Array]]) -> UnreadLabels:
        """Fit lines by least squares to cosines to means (p,) and means of the m best cosines (p,), by m."""
        lines = {}
        for m, (cosines, means) in examples.items():
            usable = np.isfinite(cosines) & np.isfinite(means)
            if usable.sum() < 2:
                continue
            x, y = cosines[usable], means[usable]
            spread = float(((x - x.mean()) ** 2).sum())
            slope = float(((x - x.mean()) * (y - y.mean())).sum() / spread) if spread > 0 else 0.0
            lines[m] = (float(y.mean() - slope * x.mean()), slope)
        return cls(lines)

    def to_array(self) -> Float64Array:
        """Return the lines as rows m, offset, slope: (k, 3)."""
        return np.array([(m, *line) for m, line in sorted(self.lines.items())], np.float64).reshape(-1, 3)

    @classmethod
    def from_array(cls, array: NDArray[np.generic]) -> UnreadLabels:
        """Rebuild from `to_array`; raise ValueError if it has another shape or numbers that are not finite."""
        values = np.asarray(array, np.float64)
        if values.ndim != 2 or values.shape[1] != 3 or not np.isfinite(values).all():
            raise ValueError(f"expected lines (k, 3) of labels without a row, got {values.shape}")
        return cls({int(m): (float(offset), float(slope)) for m, offset, slope in values})


@dataclass(frozen=True)
class GatheredSimilarities(SimilaritiesBase):
    """Queries compared with the rows gathered for each; see `protocols.Similarities`.

    n queries, P pairs of a query and a row, C labels, d numbers in a row. Cosines and means of labels are exact. A row
    that was not gathered is not compared.
    """

    embeddings: Float32Array  # (n, d) directions of the queries in this space
    pairs: QueryRowPairs  # rows are ids of the store
    label_ids: IntArray  # (P,) of the rows
    cosines_to_means: Float64Array  # (n, C); -inf where none of a label's rows is left
    distances: Float64Array  # (n, C) squared Euclidean, to the mean rows; inf where none is left
    unread: UnreadLabels = field(default_factory=UnreadLabels)
    _top_k_means: dict[int, Float64Array] = field(default_factory=dict)  # by m; several experts need them

    def __len__(self) -> int:
        return len(self.embeddings)

    def _range(self, query: int) -> slice:
        start, end = np.searchsorted(self.pairs.queries, [query, query + 1])
        return slice(int(start), int(end))

    def _rows_of(self, query: int) -> IntArray:
        return self.pairs.rows[self._range(query)]

    def nearest_each(self, k: int) -> tuple[IntArray, Float64Array]:
        """Return the k nearest rows of every query (n, k) and their cosines; row -1, cosine -inf for missing ones."""
        return self.pairs.nearest(k)

    def nearest_among(self, wanted: Sequence[tuple[int, IntArray]], k: int) -> tuple[IntArray, Float64Array]:
        """Return the k nearest gathered rows (w, k) and their cosines for w queries, each with the rows allowed."""
        return self._nearest([(query, np.isin(self._rows_of(query), rows)) for query, rows in wanted], k)

    def nearest_of_labels(self, wanted: Sequence[tuple[int, int]], k: int) -> tuple[IntArray, Float64Array]:
        """Return the k nearest gathered rows (w, k) and their cosines for w pairs of a query and a label."""
        return self._nearest([(query, self.label_ids[self._range(query)] == label) for query, label in wanted], k)

    def _nearest(self, wanted: Sequence[tuple[int, BoolArray]], k: int) -> tuple[IntArray, Float64Array]:
        rows, cosines = np.full((len(wanted), k), -1, np.int64), np.full((len(wanted), k), -np.inf)
        for place, (query, allowed) in enumerate(wanted):
            part = self._range(query)
            found, similar = self.pairs.rows[part][allowed], self.pairs.cosines[part][allowed]
            order = np.lexsort((found, -similar))[:k]
            rows[place, : len(order)], cosines[place, : len(order)] = found[order], similar[order]
        return rows, cosines

    def labels_of_nearest(self, k: int) -> tuple[IntArray, Float64Array]:
        """Return the labels of the k nearest rows of every query (n, k), -1 for none, and the cosines of the rows."""
        rows, cosines = self.pairs.nearest(k)
        ids, first = np.unique(self.pairs.rows, return_index=True)
        if not len(ids):
            return rows, cosines
        places = np.searchsorted(ids, rows).clip(max=len(ids) - 1)
        return np.where(rows >= 0, self.label_ids[first][places], -1), cosines

    def top_k_mean(self, m: int) -> Float64Array:
        """Return for each label the mean of its m best cosines (n, C).

        A label of which no row was read has what `unread` says.
        """
        if m not in self._top_k_means:
            means = self.pairs.label_means(m, self.label_ids, self.cosines_to_means.shape[1])
            self._top_k_means[m] = self.unread.filled(m, means, self.cosines_to_means)
        return self._top_k_means[m]

    def best_label(self) -> Float64Array:
        """Return per query (n,) the largest mean, over the labels read, of nearest cosine and cosine to the mean."""
        nearest = self.pairs.label_means(1, self.label_ids, self.cosines_to_means.shape[1])
        return np.asarray(((nearest + self.cosines_to_means) / 2).max(axis=1, initial=-np.inf))

    def mean_cosines(self) -> Float64Array:
        """Return the cosines (n, C) to the mean row of each label; -inf where none of its rows is left."""
        return self.cosines_to_means

    def square_distances(self) -> Float64Array:
        """Return the squared distances (n, C) to the mean row of each label; inf where none is left."""
        return self.distances


@dataclass(frozen=True)
class RowsInSpace:
    """m rows in one space, as pairs are multiplied with them; d numbers in a row.

    In the space of the index the rows are as they are. In a space that `projected` maps to, the metric is applied to
    the other side, so that no mapped row is stored. Otherwise the rows are directions times `norms`.
    """

    matrix: Float32Array  # (m, d) normalized
    norms: Float64Array | None = None  # (m,) in this space; None: all 1
    projected: ProjectedMetric | None = None

    def products(self, vectors: NDArray[np.floating], of_pairs: IntArray, rows: IntArray) -> Float64Array:
        """Return the inner products (P,) of vectors (n, e) of this space with rows, for P pairs, in float64."""
        if self.projected is not None:
            forms, offsets = self.projected.forms_and_offsets(vectors)
            return np.asarray(dots(self.matrix, forms, of_pairs, rows) - offsets[of_pairs])
        products = dots(self.matrix, vectors, of_pairs, rows)
        return products if self.norms is None else np.asarray(products * self.norms[rows])

    def fast_products(self, vectors: NDArray[np.floating], of_pairs: IntArray, rows: IntArray) -> Float64Array:
        """Return the same by one product of matrices in float32; its last bits depend on the other pairs."""
        offsets: Float64Array | None = None
        left = np.asarray(vectors, np.float32)
        if self.projected is not None:
            forms, offsets = self.projected.forms_and_offsets(vectors)
            left = np.asarray(forms, np.float32)
        products = np.empty(len(rows))
        for start in range(0, len(self.matrix), _ROWS):
            part = np.flatnonzero((rows >= start) & (rows < start + _ROWS))
            block = left @ self.matrix[start : start + _ROWS].T
            products[part] = block[of_pairs[part], rows[part] - start]
        if offsets is not None:
            return np.asarray(products - offsets[of_pairs])
        return products if self.norms is None else np.asarray(products * self.norms[rows])

    def squares(self, rows: IntArray) -> Float64Array:
        """Return the squared norms (P,) of rows in this space."""
        return np.ones(len(rows)) if self.norms is None else np.square(self.norms[rows])
