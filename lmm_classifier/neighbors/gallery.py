"""The gallery: labeled rows of one search space, with which queries are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.linalg import ReproducibleMatmul64
from lmm_classifier.neighbors.similarities import GallerySimilarities, Grouping, QueryForms, ToMeans

MOST_AT_ONCE = 1 << 24  # similarities held at a time: 67 MB in float32
_TINY = 1e-12  # examples that cancel out have no direction: cosine 0
_TOLERANCE = 1e-5  # many times the error of float32 seen: about 1e-7 for 2,500 numbers of a normalized vector


@dataclass(frozen=True)
class ProjectedMetric:
    """A linear map z = (x - center) P that is applied to the queries, so that mapped rows need not be stored.

    N rows, d numbers before and e after the map. The cosine of a mapped query z with a mapped row is
    ((z P') . x - (z P') . center) / norm of the mapped row.
    """

    center: Float32Array  # (d,)
    projection: Float32Array  # (d, e), P
    norms: Float64Array  # (N,) of the mapped rows

    @cached_property
    def inverse_norms(self) -> Float64Array:
        """One over the norms (N,); 0 for a row of norm 0, whose cosines are 0."""
        return np.asarray(np.where(self.norms > _TINY, 1 / np.maximum(self.norms, _TINY), 0))

    @cached_property
    def _forwards(self) -> ReproducibleMatmul64:
        return ReproducibleMatmul64(self.projection)

    @cached_property
    def _backwards(self) -> ReproducibleMatmul64:
        return ReproducibleMatmul64(self.projection.T)

    def mapped(self, rows: Float64Array) -> Float64Array:
        """Map rows (n, d) to (n, e)."""
        return self._forwards(rows - self.center)

    def forms_and_offsets(self, mapped: NDArray[np.floating]) -> tuple[Float64Array, Float64Array]:
        """Return z P' (n, d) and (z P') . center (n,) of mapped rows z (n, e)."""
        forms = self._backwards(mapped)
        return forms, (forms * self.center).sum(axis=1)

    def forms(self, embeddings: NDArray[np.floating]) -> QueryForms:
        """Return the form in which mapped and normalized queries (n, e) are multiplied with unmapped rows."""
        forms, offsets = self.forms_and_offsets(embeddings)
        return QueryForms(forms, offsets, self.inverse_norms)


class Gallery:
    """Rows of one search space with their labels, and the mean row of every label.

    N rows, C labels, d numbers in a row; n queries. Directions decide cosines; norms matter for means and distances.
    Sums over the labels are computed when first needed. With a `projected` metric the stored rows are those of the
    unmapped space. Queries and means are of the space that the metric maps to.

    Args:
        embeddings: normalized rows (N, d).
        label_ids: (N,) numbers below `labels`.
        labels: C.
        norms: (N,) of the rows before normalization; None where all are 1.
        projected: a metric to apply to the queries.
        plain: the gallery without the metric; it has the same rows, labels and sums.
    """

    def __init__(
        self,
        embeddings: Float32Array,
        label_ids: IntArray,
        labels: int,
        norms: Float64Array | None = None,
        projected: ProjectedMetric | None = None,
        plain: Gallery | None = None,
    ) -> None:
        self.embeddings = embeddings
        self.norms = norms
        self.label_ids = label_ids
        self.projected = projected
        self._plain = plain
        self.rows_of_label: list[IntArray] = plain.rows_of_label if plain else rows_by_label(label_ids, labels)
        self.counts: NDArray[np.intp] = np.bincount(label_ids, minlength=labels)  # (C,)

    @classmethod
    def of(cls, rows: Float32Array, label_ids: IntArray, labels: int) -> Gallery:
        """Make a gallery of rows (N, d) of any norm."""
        embeddings, norms = directions(rows)
        return cls(embeddings, label_ids, labels, norms)

    def with_metric_in_query(self, projected: ProjectedMetric) -> Gallery:
        """Return the gallery in the space that `projected` maps to; the stored rows stay as they are.

        Raises:
            ValueError: the rows have norms other than 1.
        """
        if self.norms is not None:
            raise ValueError("the rows have norms of their own; expected a gallery whose rows all have norm 1")
        return Gallery(self.embeddings, self.label_ids, self.labels, projected=projected, plain=self)

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
    def means(self) -> Float64Array:
        """The mean row of every label, (C, d)."""
        return self._mapped(np.asarray(self._sums / np.maximum(self.counts, 1)[:, None]))

    @cached_property
    def _means_squared(self) -> Float64Array:
        return np.asarray(np.square(self.means).sum(axis=1))  # (C,)

    @cached_property
    def _to_means(self) -> ReproducibleMatmul64:
        return ReproducibleMatmul64(self.means.T)

    @cached_property
    def _sums(self) -> Float64Array:
        if self._plain is not None:
            return self._plain._sums
        return np.stack([self.sum(rows) for rows in self.rows_of_label])  # (C, d)

    def take_sums(self, former: Gallery, former_rows: Sequence[int]) -> None:
        """Take the sums of the labels that have the rows of a former gallery, if it has summed them.

        The order of the rows of a label must be the same too, so that the sums are those of a new gallery, bit for bit.

        Args:
            former: a gallery with the same rows (M, d) but for those that were added or removed.
            former_rows: (N,) where each row is in `former`; -1 for new rows.
        """
        known = former.__dict__.get("_sums")
        if known is None:  # nobody needed them
            return
        places = np.asarray(former_rows, np.int64)
        sums = np.empty((self.labels, known.shape[1]))
        for label, rows in enumerate(self.rows_of_label):
            then = places[rows]
            number = former.label_ids[then[0]] if len(then) and then[0] >= 0 else -1
            is_same = number >= 0 and np.array_equal(then, former.rows_of_label[number])
            sums[label] = known[number] if is_same else self.sum(rows)
        self._sums = sums

    def _mapped(self, means: Float64Array) -> Float64Array:
        return means if self.projected is None else self.projected.mapped(means)

    @cached_property
    def squares(self) -> Float32Array:
        """Squared norms of the rows, (N,) in float32."""
        norms = self.norms if self.projected is None else self.projected.norms
        return np.ones(len(self.embeddings), np.float32) if norms is None else np.square(norms).astype(np.float32)

    def rows(self, numbers: IntArray) -> Float64Array:
        """Return the rows `numbers` (n,) in this space, not normalized: (n, d)."""
        rows = self.embeddings[numbers].astype(np.float64)
        return self._mapped(rows if self.norms is None else rows * self.norms[numbers, None])

    def products(self, rows: Float64Array) -> Callable[[slice], Float32Array]:
        """Return a function that multiplies rows (n, d) of this space with b of the gallery's rows: (n, b), float32."""
        offsets = None
        if self.projected is None:
            scale = None if self.norms is None else self.norms.astype(np.float32)
            left = np.asarray(rows, np.float32)
        else:
            scale = None
            left, offsets = (part.astype(np.float32) for part in self.projected.forms_and_offsets(rows))

        def with_rows(part: slice) -> Float32Array:
            products: Float32Array = left @ self.embeddings[part].T
            if offsets is not None:
                products -= offsets[:, None]
            if scale is not None:
                products *= scale[part]
            return products

        return with_rows

    def sum(self, rows: IntArray, block: int = 4096) -> Float64Array:
        """Sum the given rows in float64, in blocks, so that a large label is not copied as a whole."""
        total = np.zeros(self.embeddings.shape[1])
        for start in range(0, len(rows), block):
            part = rows[start : start + block]
            values = self.embeddings[part].astype(np.float64)
            total += (values if self.norms is None else values * self.norms[part, None]).sum(axis=0)
        return total

    def compare(self, queries: Float32Array, left_out: Sequence[IntArray] = ()) -> GallerySimilarities:
        """Compare rows (n, d) of this space with every row except, for each query, those of its `left_out`."""
        embeddings, forms, to_means = self.prepare_queries(queries, left_out)
        similarities = self._similarities(forms)
        for query, rows in enumerate(left_out):
            similarities[query, self.grouping.place[rows]] = -np.inf
        tolerances = self._tolerances(forms)
        return GallerySimilarities(
            self.embeddings, self.label_ids, self.grouping, embeddings, forms, similarities, tolerances, to_means
        )

    def prepare_queries(
        self, queries: Float32Array, left_out: Sequence[IntArray]
    ) -> tuple[Float32Array, QueryForms, ToMeans]:
        """Return normalized queries (n, d), the form that is multiplied with rows, and the comparison with means."""
        embeddings, norms = directions(queries)
        forms = QueryForms(embeddings) if self.projected is None else self.projected.forms(embeddings)
        return embeddings, forms, lambda: self._compared_with_means(embeddings, norms, left_out)

    def _similarities(self, forms: QueryForms) -> Float32Array:
        """Return the cosines (n, N) in float32, columns in the order of the labels."""
        cosines: Float32Array = np.asarray(forms.forms, np.float32) @ self.embeddings.T
        if forms.offsets is not None and forms.inverse_norms is not None:
            cosines -= forms.offsets[:, None].astype(np.float32)
            cosines *= forms.inverse_norms.astype(np.float32)
        return cosines if self.grouping.in_order else cosines[:, self.grouping.order]

    def _tolerances(self, forms: QueryForms) -> Float32Array:
        """Return the largest error of each query's similarities (n,); float32 errs in proportion to a form's norm."""
        stretch = np.ones(len(forms.forms))
        if forms.inverse_norms is not None:
            norms = np.sqrt(np.square(forms.forms, dtype=np.float64).sum(axis=1))
            stretch = np.maximum(2 * norms * forms.inverse_norms.max(initial=0), 1)  # row and center
        return np.asarray(_TOLERANCE * stretch, np.float32)

    def _compared_with_means(
        self, embeddings: Float32Array, norms: Float64Array, left_out: Sequence[IntArray]
    ) -> tuple[Float64Array, Float64Array]:
        """Return cosines and squared distances (n, C) to the means, computed without each query's `left_out`."""
        dots = self._to_means(embeddings)  # (n, C)
        squares = np.broadcast_to(self._means_squared, dots.shape).copy()
        has_rows = np.broadcast_to(self.counts > 0, dots.shape).copy()
        for query, rows in enumerate(left_out):
            for label in np.unique(self.label_ids[rows]):
                count, mean = self._mean_without(label, rows)
                dots[query, label] = (mean * embeddings[query]).sum()
                squares[query, label] = np.square(mean).sum()
                has_rows[query, label] = count > 0
        norm = norms[:, None]
        cosines = np.where(has_rows, dots / np.maximum(np.sqrt(squares), _TINY), -np.inf)
        distances = np.where(has_rows, squares - 2 * norm * dots + norm * norm, np.inf)
        return cosines, distances

    def _mean_without(self, label: int, left_out: IntArray) -> tuple[int, Float64Array]:
        """Return how many rows of a label remain without `left_out`, and their mean (d,)."""
        removed = np.unique(left_out[self.label_ids[left_out] == label])
        count = int(self.counts[label]) - len(removed)
        return count, self._mapped((self._sums[[label]] - self.sum(removed)) / max(count, 1))[0]


def directions(rows: Float32Array) -> tuple[Float32Array, Float64Array]:
    """Split rows (n, d) into normalized rows (n, d) and norms (n,); a row of norm 0 stays zero."""
    norms = np.empty(len(rows))
    embeddings = np.empty(rows.shape, np.float32)
    for start in range(0, len(rows), 1024):
        part = slice(start, start + 1024)
        norms[part] = np.sqrt(np.square(rows[part], dtype=np.float64).sum(axis=1))
        embeddings[part] = rows[part] / np.maximum(norms[part], _TINY)[:, None]
    return embeddings, norms


def rows_by_label(label_ids: IntArray, labels: int) -> list[IntArray]:
    """Return one array per label with its rows, ascending."""
    order = np.argsort(label_ids, kind="stable")
    return np.split(order, np.cumsum(np.bincount(label_ids, minlength=labels))[:-1])
