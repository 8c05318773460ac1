"""The gallery: labelled rows of one space, what queries are compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.linalg import FineProduct
from lmm_classifier.core.protocols import FloatArray, IntArray
from lmm_classifier.neighbors.similarities import Forms, GalleryComparison, Grouping, ToMeans

Doubles = NDArray[np.float64]

MOST_AT_ONCE = 1 << 24  # similarities held at a time: 67 MB in float32
_TINY = 1e-12  # examples that cancel out have no direction: cosine 0
_TOLERANCE = 1e-5  # many times the error of float32 seen: about 1e-7 for 2,500 numbers of a unit vector


@dataclass(frozen=True)
class Fold:
    """A linear map z = (x - centre) P, folded into the queries so that the mapped rows need not be kept.

    The cosine of a mapped query z with a mapped row is ((z P') . x - (z P') . centre) / norm of the row.
    """

    centre: FloatArray  # (d,)
    projection: FloatArray  # (d, e), P
    norms: Doubles  # (N,) lengths of the mapped rows

    @cached_property
    def inverse_norms(self) -> Doubles:
        """One over the norms (N,); 0 for a row without length, whose cosines are 0."""
        return np.asarray(np.where(self.norms > _TINY, 1 / np.maximum(self.norms, _TINY), 0))

    @cached_property
    def _forwards(self) -> FineProduct:
        return FineProduct(self.projection)

    @cached_property
    def _backwards(self) -> FineProduct:
        return FineProduct(self.projection.T)

    def mapped(self, rows: Doubles) -> Doubles:
        """Map rows (n, d) to (n, e)."""
        return self._forwards(rows - self.centre)

    def forms(self, units: NDArray[np.floating]) -> Forms:
        """What cosines of mapped unit queries (n, e) with the rows as they are come from."""
        forms = self._backwards(units)
        return Forms(forms, (forms * self.centre).sum(axis=1), self.inverse_norms)


class Gallery:
    """Rows (N, d) of one search space with their labels, and the mean row of every label.

    Directions count for cosines, lengths for means and distances. Sums over the labels are made when first needed.
    With a `fold` the rows are those of another space, and queries and means are of the space that it maps to.
    """

    def __init__(
        self,
        units: FloatArray,
        label_ids: IntArray,
        labels: int,
        lengths: Doubles | None = None,
        fold: Fold | None = None,
        plain: Gallery | None = None,
    ) -> None:
        self.units = units  # (N, d) unit rows
        self.lengths = lengths  # (N,) of the rows before they were brought to unit length; None where all are 1
        self.label_ids = label_ids
        self.fold = fold
        self._plain = plain  # the gallery that was folded: the same rows, labels and sums
        self.rows_of_label: list[IntArray] = plain.rows_of_label if plain else rows_by_label(label_ids, labels)
        self.counts = np.bincount(label_ids, minlength=labels)  # (C,)

    @classmethod
    def of(cls, rows: FloatArray, label_ids: IntArray, labels: int) -> Gallery:
        """Make a gallery of rows (N, d) of any length."""
        units, lengths = directions(rows)
        return cls(units, label_ids, labels, lengths)

    def folded(self, fold: Fold) -> Gallery:
        """The gallery in the space that `fold` maps to; its rows serve as they are, so they must be of unit length."""
        assert self.lengths is None
        return Gallery(self.units, self.label_ids, self.labels, fold=fold, plain=self)

    @property
    def labels(self) -> int:
        """The number of labels, C."""
        return len(self.counts)

    @property
    def queries_at_once(self) -> int:
        """How many queries to compare at a time, so that memory does not grow with the gallery."""
        return max(MOST_AT_ONCE // max(len(self.label_ids), 1), 1)

    @cached_property
    def grouping(self) -> Grouping:
        """The rows in the order of their labels."""
        if self._plain is not None:
            return self._plain.grouping
        return Grouping.of(self.label_ids, self.labels)

    @cached_property
    def means(self) -> Doubles:
        """The mean row of every label, (C, d)."""
        return self._mapped(np.asarray(self._sums / np.maximum(self.counts, 1)[:, None]))

    @cached_property
    def _means_squared(self) -> Doubles:
        return np.asarray(np.square(self.means).sum(axis=1))  # (C,)

    @cached_property
    def _to_means(self) -> FineProduct:
        return FineProduct(self.means.T)

    @cached_property
    def _sums(self) -> Doubles:
        if self._plain is not None:
            return self._plain._sums
        return np.stack([self.sum(rows) for rows in self.rows_of_label])  # (C, d)

    def _mapped(self, means: Doubles) -> Doubles:
        return means if self.fold is None else self.fold.mapped(means)

    @cached_property
    def squares(self) -> FloatArray:
        """Squared lengths of the rows, (N,) in float32."""
        lengths = self.lengths if self.fold is None else self.fold.norms
        return np.ones(len(self.units), np.float32) if lengths is None else np.square(lengths).astype(np.float32)

    def rows(self, numbers: IntArray) -> Doubles:
        """The rows `numbers` (n,) as they are in this space, of their own lengths: (n, d)."""
        rows = self.units[numbers].astype(np.float64)
        return self._mapped(rows if self.lengths is None else rows * self.lengths[numbers, None])

    def products(self, rows: Doubles) -> Callable[[slice], FloatArray]:
        """What gives the inner products (n, b), in float32, of rows (n, d) of this space with some of its rows."""
        if self.fold is None:
            scale = None if self.lengths is None else self.lengths.astype(np.float32)
            left, offsets = np.asarray(rows, np.float32), None
        else:
            forms = self.fold.forms(rows)
            assert forms.offsets is not None
            left, offsets, scale = np.asarray(forms.forms, np.float32), forms.offsets[:, None].astype(np.float32), None

        def with_rows(part: slice) -> FloatArray:
            found: FloatArray = left @ self.units[part].T
            if offsets is not None:
                found -= offsets
            if scale is not None:
                found *= scale[part]
            return found

        return with_rows

    def sum(self, rows: IntArray, block: int = 4096) -> Doubles:
        """Sum of the given rows in float64, read in blocks so that a large label costs no copy of itself."""
        total = np.zeros(self.units.shape[1])
        for start in range(0, len(rows), block):
            part = rows[start : start + block]
            values = self.units[part].astype(np.float64)
            total += (values if self.lengths is None else values * self.lengths[part, None]).sum(axis=0)
        return total

    def compare(self, queries: FloatArray, left_out: Sequence[IntArray] = ()) -> GalleryComparison:
        """Compare rows (n, d) of the same space with every row but, for each query, those of its `left_out`."""
        units, forms, to_means = self.prepared(queries, left_out)
        similarities = self._similarities(forms)
        for query, rows in enumerate(left_out):
            similarities[query, self.grouping.place[rows]] = -np.inf
        tolerances = self._tolerances(forms)
        return GalleryComparison(
            self.units, self.label_ids, self.grouping, units, forms, similarities, tolerances, to_means
        )

    def prepared(self, queries: FloatArray, left_out: Sequence[IntArray]) -> tuple[FloatArray, Forms, ToMeans]:
        """Directions of queries (n, d), what their cosines with rows come from, and what compares them with means."""
        units, lengths = directions(queries)
        forms = Forms(units) if self.fold is None else self.fold.forms(units)
        return units, forms, lambda: self._compared_with_means(units, lengths, left_out)

    def _similarities(self, forms: Forms) -> FloatArray:
        """Cosines (n, N) in float32, columns in the order of the labels."""
        near: FloatArray = np.asarray(forms.forms, np.float32) @ self.units.T
        if forms.offsets is not None and forms.inverse_norms is not None:
            near -= forms.offsets[:, None].astype(np.float32)
            near *= forms.inverse_norms.astype(np.float32)
        return near if self.grouping.in_order else near[:, self.grouping.order]

    def _tolerances(self, forms: Forms) -> FloatArray:
        """How far similarities of each query (n,) may be off: float32 errs in proportion to the length of a form."""
        stretch = np.ones(len(forms.forms))
        if forms.inverse_norms is not None:
            lengths = np.sqrt(np.square(forms.forms, dtype=np.float64).sum(axis=1))
            stretch = np.maximum(2 * lengths * forms.inverse_norms.max(initial=0), 1)  # row and centre
        return np.asarray(_TOLERANCE * stretch, np.float32)

    def _compared_with_means(
        self, units: FloatArray, lengths: Doubles, left_out: Sequence[IntArray]
    ) -> tuple[Doubles, Doubles]:
        """Cosines and squared distances (n, C) to the means, each query seeing them without its `left_out`."""
        dots = self._to_means(units)  # (n, C)
        squares = np.broadcast_to(self._means_squared, dots.shape).copy()
        there = np.broadcast_to(self.counts > 0, dots.shape).copy()
        for query, rows in enumerate(left_out):
            for label in np.unique(self.label_ids[rows]):
                count, mean = self._mean_without(label, rows)
                dots[query, label] = (mean * units[query]).sum()
                squares[query, label] = np.square(mean).sum()
                there[query, label] = count > 0
        length = lengths[:, None]
        cosines = np.where(there, dots / np.maximum(np.sqrt(squares), _TINY), -np.inf)
        distances = np.where(there, squares - 2 * length * dots + length * length, np.inf)
        return cosines, distances

    def _mean_without(self, label: int, left_out: IntArray) -> tuple[int, Doubles]:
        """How many rows of a label are left, and their mean (d,), when the rows `left_out` are not there."""
        mine = np.unique(left_out[self.label_ids[left_out] == label])
        count = int(self.counts[label]) - len(mine)
        return count, self._mapped((self._sums[[label]] - self.sum(mine)) / max(count, 1))[0]


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
