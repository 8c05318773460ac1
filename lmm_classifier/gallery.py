"""The gallery: labelled rows of one space, what queries are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.protocols import FloatArray, IntArray

Doubles = NDArray[np.float64]

_TINY = 1e-12  # examples that cancel out have no direction: cosine 0
_TOLERANCE = 1e-5  # many times the error of float32 seen: about 1e-7 for 2,500 numbers of a unit vector


class Gallery:
    """Rows (N, d) of one search space with their labels, and the mean row of every label.

    Directions count for cosines, lengths for means and distances. Sums over the labels are made when first needed.
    """

    def __init__(self, units: FloatArray, label_ids: IntArray, labels: int, lengths: Doubles | None = None) -> None:
        self.units = units  # (N, d) unit rows
        self.lengths = lengths  # (N,) of the rows before they were brought to unit length; None where all are 1
        self.label_ids = label_ids
        self.rows_of_label = rows_by_label(label_ids, labels)
        self.counts = np.bincount(label_ids, minlength=labels)  # (C,)

    @classmethod
    def of(cls, rows: FloatArray, label_ids: IntArray, labels: int) -> Gallery:
        """Make a gallery of rows (N, d) of any length."""
        units, lengths = directions(rows)
        return cls(units, label_ids, labels, lengths)

    @property
    def labels(self) -> int:
        """The number of labels, C."""
        return len(self.counts)

    @cached_property
    def means(self) -> Doubles:
        """The mean row of every label, (C, d)."""
        return np.asarray(self._sums / np.maximum(self.counts, 1)[:, None])

    @cached_property
    def _sums(self) -> Doubles:
        return np.stack([self.sum(rows) for rows in self.rows_of_label])  # (C, d)

    def sum(self, rows: IntArray, block: int = 4096) -> Doubles:
        """Sum of the given rows in float64, read in blocks so that a large label costs no copy of itself."""
        total = np.zeros(self.units.shape[1])
        for start in range(0, len(rows), block):
            part = rows[start : start + block]
            values = self.units[part].astype(np.float64)
            total += (values if self.lengths is None else values * self.lengths[part, None]).sum(axis=0)
        return total

    def means_without(self, left_out: IntArray) -> tuple[Doubles, NDArray[np.bool_]]:
        """Mean rows (C, d) of the labels when the rows `left_out` are not there, and which labels are left (C,)."""
        if not len(left_out):
            return self.means, self.counts > 0
        means, counts = self.means.copy(), self.counts.copy()
        for label in np.unique(self.label_ids[left_out]):
            mine = left_out[self.label_ids[left_out] == label]
            counts[label] -= len(mine)
            means[label] = (self._sums[label] - self.sum(mine)) / max(counts[label], 1)
        return means, counts > 0

    def compare(self, queries: FloatArray, left_out: Sequence[IntArray] = ()) -> GalleryComparison:
        """Compare rows (n, d) of the same space with every row but, for each query, those of its `left_out`."""
        units, lengths = directions(queries)
        similarities = units @ self.units.T  # (n, N)
        for query, rows in enumerate(left_out):
            similarities[query, rows] = -np.inf
        return GalleryComparison(self, units, lengths, similarities)


@dataclass(frozen=True)
class GalleryComparison:
    """Queries against all rows of a gallery; see `protocols.Comparison`.

    One matrix product in float32 finds who may be near. Its last bits depend on the batch, so whatever is reported or
    voted with is computed again in float64, row by row.
    """

    gallery: Gallery
    units: FloatArray  # (n, d) directions of the queries
    lengths: Doubles  # (n,)
    similarities: FloatArray  # (n, N), -inf where left out; off by up to _TOLERANCE
    _top_means: dict[int, Doubles] = field(default_factory=dict)  # asked for by several voices

    def __len__(self) -> int:
        return len(self.units)

    def nearest(self, query: int, k: int, rows: IntArray | None = None) -> tuple[IntArray, Doubles]:
        """Return the k nearest rows and their cosines, exact to float64: nearest first, equal ones by row."""
        near = self.similarities[query] if rows is None else self.similarities[query, rows]
        k = min(k, len(near))
        if k == 0:
            return np.empty(0, np.int64), np.empty(0)
        limit = np.partition(near, len(near) - k)[len(near) - k]
        keep = np.flatnonzero((near >= limit - _TOLERANCE) & np.isfinite(near))
        found = keep if rows is None else rows[keep]
        exact = self.cosines(query, found)
        order = np.lexsort((found, -exact))[:k]
        return found[order].astype(np.int64), exact[order]

    def cosines(self, query: int, rows: IntArray) -> Doubles:
        """Return the cosines of one query with `rows`, summed in float64 and in one order whatever the batch."""
        products = self.gallery.units[rows].astype(np.float64)  # (k, d)
        products *= self.units[query]
        return np.asarray(products.sum(axis=1))

    def top_mean(self, m: int) -> Doubles:
        """Return for each label the mean of its m best cosines (n, C); -inf where none is left."""
        if m in self._top_means:
            return self._top_means[m]
        limits = np.empty((len(self), self.gallery.labels), np.float32)
        for label, rows in enumerate(self.gallery.rows_of_label):
            limits[:, label] = _mth_largest(self.similarities[:, rows], m)
        means = np.empty(limits.shape)
        for query, limit in enumerate(limits - np.float32(_TOLERANCE)):
            means[query] = self._top_mean(query, m, limit)
        self._top_means[m] = means
        return means

    def _top_mean(self, query: int, m: int, limits: FloatArray) -> Doubles:
        near, label_ids = self.similarities[query], self.gallery.label_ids
        rows = np.flatnonzero((near >= limits[label_ids]) & np.isfinite(near))
        labels, cosines = label_ids[rows], self.cosines(query, rows)
        order = np.lexsort((-cosines, labels))
        labels, cosines = labels[order], cosines[order]
        best = np.arange(len(labels)) - np.searchsorted(labels, labels) < m  # rank within the label
        count = np.bincount(labels[best], minlength=len(limits))
        total = np.bincount(labels[best], cosines[best], len(limits))
        return np.where(count > 0, total / np.maximum(count, 1), -np.inf)

    def mean_cosines(self) -> Doubles:
        """Return the cosines (n, C) to the mean row of each label; -inf where none of its rows is left."""
        return self._to_means[0]

    def square_distances(self) -> Doubles:
        """Return the squared Euclidean distances (n, C) to the mean row of each label; inf where none is left."""
        return self._to_means[1]

    @cached_property
    def _to_means(self) -> tuple[Doubles, Doubles]:
        cosines, distances = np.empty((2, len(self), self.gallery.labels))
        for query in range(len(self)):
            means, there = self.gallery.means_without(np.flatnonzero(np.isneginf(self.similarities[query])))
            # summed row by row: a matrix product's last bits depend on the number of its threads
            dots = (means * self.units[query]).sum(axis=1)  # (C,)
            squares = np.square(means).sum(axis=1)
            length = self.lengths[query]
            cosines[query] = np.where(there, dots / np.maximum(np.sqrt(squares), _TINY), -np.inf)
            distances[query] = np.where(there, squares - 2 * length * dots + length * length, np.inf)
        return cosines, distances


def directions(rows: FloatArray) -> tuple[FloatArray, Doubles]:
    """Split rows (n, d) into unit rows (n, d) and lengths (n,); a row without length stays zero."""
    lengths = np.empty(len(rows))
    units = np.empty(rows.shape, np.float32)
    for start in range(0, len(rows), 1024):
        part = slice(start, start + 1024)
        lengths[part] = np.sqrt(np.square(rows[part], dtype=np.float64).sum(axis=1))
        units[part] = rows[part] / np.maximum(lengths[part], _TINY)[:, None]
    return units, lengths


def rows_by_label(label_ids: IntArray, labels: int) -> list[IntArray]:
    """Rows of each label, ascending; one array per label."""
    order = np.argsort(label_ids, kind="stable")
    return np.split(order, np.cumsum(np.bincount(label_ids, minlength=labels))[:-1])


def _mth_largest(similarities: FloatArray, m: int) -> FloatArray:
    """The m-th largest of each row (n, size of the label), or the least where there are fewer; -inf for no rows."""
    if not similarities.shape[1]:
        return np.full(len(similarities), -np.inf, np.float32)
    place = max(similarities.shape[1] - m, 0)
    return np.asarray(np.partition(similarities, place, axis=1)[:, place])
