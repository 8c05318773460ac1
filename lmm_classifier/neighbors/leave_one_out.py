"""Exact leave-one-out: compare every example with a dataset that does not hold it, in closed form.

Example i with row z_i has label y, of n examples with mean mu. Leaving it out changes three things, all of rank one.
With u = z_i - mu:

- The metric A becomes A + g (Au)(Au)' (Sherman & Morrison, 1950), with g = a / (1 - a u'Au) and
  a = (1 - shrinkage) n / (n - 1) / freedom.
- The mean of label y becomes mu - u / (n - 1).
- The dataset mean was subtracted from every row. Without the example all other rows move by z_i / (N - 1).

The shrinkage, its unit tr S / d, the freedom N - C and the square root are settings, so they do not change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from lmm_classifier.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.similarities import SimilaritiesBase

_TINY = 1e-30
_MOST_AT_ONCE = 1 << 26  # similarities held at a time: 268 MB in float32
_COLUMNS = 8192  # rows compared at a time


@dataclass(frozen=True)
class LeaveOneOutSimilarities(SimilaritiesBase):
    """Examples of a gallery compared with the gallery without them; see `protocols.Similarities`.

    b examples in a block, N rows, C labels.
    """

    similarities: Float32Array  # (b, N), -inf for the example itself
    cosines_to_means: Float64Array  # (b, C), -inf where the label has no other example
    distances: Float64Array  # (b, C), squared
    rows_of_label: list[IntArray]
    _top: dict[int, Float64Array] = field(default_factory=dict)  # means that several experts need

    def __len__(self) -> int:
        return len(self.similarities)

    def _rows_of(self, query: int) -> IntArray:  # noqa: ARG002
        return np.arange(self.similarities.shape[1])

    def nearest_each(self, k: int) -> tuple[IntArray, Float64Array]:
        """Return the k nearest rows of every example (b, k) and their cosines; row -1, cosine -inf for missing ones."""
        every = np.arange(self.similarities.shape[1])
        return self.nearest_among([(query, every) for query in range(len(self))], min(k, len(every)))

    def nearest_among(self, wanted: Sequence[tuple[int, IntArray]], k: int) -> tuple[IntArray, Float64Array]:
        """Return the k nearest rows (w, k) and their cosines for w examples, each with the rows to choose from.

        Nearest first, equal cosines by row.
        """
        rows, cosines = np.full((len(wanted), k), -1, np.int64), np.full((len(wanted), k), -np.inf)
        for place, (query, among) in enumerate(wanted):
            nearest, similarities = self._nearest_of(query, k, among)
            rows[place, : len(nearest)], cosines[place, : len(nearest)] = nearest, similarities
        return rows, cosines

    def _nearest_of(self, query: int, k: int, rows: IntArray) -> tuple[IntArray, Float32Array]:
        similarities = self.similarities[query, rows]
        if len(similarities) > k:
            limit = np.partition(similarities, len(similarities) - k)[len(similarities) - k]
            may_be_near = np.flatnonzero(similarities >= limit)
            rows, similarities = rows[may_be_near], similarities[may_be_near]
        is_left = np.isfinite(similarities)
        rows, similarities = rows[is_left], similarities[is_left]
        order = np.lexsort((rows, -similarities))[:k]
        return rows[order], similarities[order]

    def top_k_mean(self, m: int) -> Float64Array:
        """Return for each label the mean of its m best cosines (b, C); -inf where none is left."""
        if m not in self._top:
            self._top[m] = self._best_of_labels() if m == 1 else self._top_k_mean(m)
        return self._top[m]

    def _best_of_labels(self) -> Float64Array:
        """Return the best cosine of each label (b, C)."""
        best = np.full(self.cosines_to_means.shape, -np.inf)
        for label, rows in enumerate(self.rows_of_label):
            if len(rows):
                best[:, label] = self.similarities[:, _range_of(rows)].max(axis=1)
        return best

    def _top_k_mean(self, m: int) -> Float64Array:
        means = np.full(self.cosines_to_means.shape, -np.inf)
        for label, rows in enumerate(self.rows_of_label):
            k = min(m, len(rows))
            if k == 0:
                continue
            best = np.array(self.similarities[:, _range_of(rows)])
            best.partition(len(rows) - k, axis=1)
            best = best[:, len(rows) - k :].astype(np.float64)
            is_left = np.isfinite(best)
            count = is_left.sum(axis=1)
            total = np.where(is_left, best, 0).sum(axis=1)
            means[:, label] = np.where(count > 0, total / np.maximum(count, 1), -np.inf)
        return means

    def mean_cosines(self) -> Float64Array:
        """Return the cosines (b, C) to the mean row of each label; -inf where none of its rows is left."""
        return self.cosines_to_means

    def square_distances(self) -> Float64Array:
        """Return the squared distances (b, C) to the mean row of each label; inf where none is left."""
        return self.distances


def _range_of(rows: IntArray) -> IntArray | slice:
    """Return ascending rows as a range where they are one, as those of a label usually are: that is faster."""
    return slice(rows[0], rows[-1] + 1) if rows[-1] - rows[0] + 1 == len(rows) else rows


@dataclass(frozen=True)
class Downdate:
    """How labels and their means change when one example is left out. C labels, d numbers in a row.

    `downdate` is (1 - shrinkage) / freedom of the metric, 0 without a metric. `shift` is 1 / (N - 1) where the
    dataset mean was subtracted from the rows, else 0.
    """

    counts: IntArray  # (C,)
    means: Float64Array  # (C, d)
    downdate: float
    shift: float

    @classmethod
    def of(cls, counts: IntArray, means: Float64Array, downdate: float, centered: bool) -> Downdate:
        """Leave examples out of labels with `counts` (C,) rows and these means (C, d)."""
        total = int(counts.sum())
        return cls(counts, means, downdate, 1 / (total - 1) if centered and total > 1 else 0.0)

    def to_means(self, rows: Float64Array, own: IntArray) -> tuple[Float64Array, Float64Array]:
        """Return cosines and squared distances (b, C) of rows (b, d), each left out of its label in `own`, to means."""
        return DowndateTerms.of(self, rows, own).to_means()


class LeaveOneOut:
    """Leaves out the rows of a gallery one by one.

    `downdate` is (1 - shrinkage) / freedom of the gallery's metric, 0 without a metric. `centered` says whether the
    dataset mean was subtracted from its rows.
    """

    def __init__(self, gallery: Gallery, downdate: float = 0.0, centered: bool = False) -> None:
        self._gallery = gallery
        self._removal = Downdate.of(gallery.counts, gallery.means, downdate, centered)

    def blocks(
        self, wanted: IntArray | None = None, size: int = 512
    ) -> Iterator[tuple[IntArray, LeaveOneOutSimilarities]]:
        """Yield the rows `wanted` (all, by default) in blocks: their numbers and their similarities."""
        count = len(self._gallery.label_ids)
        wanted = np.arange(count) if wanted is None else wanted
        size = max(min(size, _MOST_AT_ONCE // max(count, 1)), 1)
        for start in range(0, len(wanted), size):
            rows = wanted[start : start + size]
            yield rows, self._compare(rows)

    def _compare(self, numbers: IntArray) -> LeaveOneOutSimilarities:
        own = self._gallery.label_ids[numbers]
        rows = self._gallery.rows(numbers)
        terms = DowndateTerms.of(self._removal, rows, own)
        cosines, distances = terms.to_means()
        return LeaveOneOutSimilarities(
            self._to_rows(terms, numbers, rows), cosines, distances, self._gallery.rows_of_label
        )

    def _to_rows(self, terms: DowndateTerms, numbers: IntArray, rows: Float64Array) -> Float32Array:
        """Return the cosines (b, N) to all other rows in float32, in parts that stay in the cache."""
        count = len(self._gallery.label_ids)
        cosines = np.empty((len(numbers), count), np.float32)
        labels, places = np.unique(terms.own, return_inverse=True)
        times_rows, times_means = self._gallery.products(rows), self._gallery.products(self._removal.means[labels])
        for start in range(0, count, _COLUMNS):
            part = slice(start, start + _COLUMNS)
            z_r = times_rows(part)
            u_r = z_r - times_means(part)[places] if terms.gain.any() else None
            cosines[:, part] = self._cosines(terms, z_r, u_r, self._gallery.squares[part])
        cosines[np.arange(len(numbers)), numbers] = -np.inf
        return cosines

    def _cosines(
        self, terms: DowndateTerms, z_r: Float32Array, u_r: Float32Array | None, r_r: Float32Array
    ) -> Float32Array:
        """Return the cosines (b, n) from the products z r, u r and r r with n rows; in place."""
        s = np.float32(self._removal.shift)
        gain, z_z, u_z = (term.astype(np.float32)[:, None] for term in (terms.gain, terms.z_z, terms.u_z))
        squares = np.broadcast_to(r_r, z_r.shape).copy()
        if s:
            squares += 2 * s * z_r
            squares += s * s * z_z
        if u_r is not None:
            u_r += s * u_z
            z_r += gain * u_z * u_r
            u_r *= u_r
            u_r *= gain
            squares += u_r
        if s:
            z_r += s * z_z
        squares *= z_z + gain * u_z**2
        np.maximum(squares, np.float32(_TINY), out=squares)
        z_r /= np.sqrt(squares, out=squares)
        return np.clip(z_r, -1, 1, out=z_r)  # where a row has norm 0 now, its cosine is only rounding


@dataclass(frozen=True)
class DowndateTerms:
    """Inner products of a block of b rows; z is a row, u its deviation from the mean of its label. C labels."""

    removal: Downdate
    own: IntArray  # (b,) labels
    single: BoolArray  # (b,) the only example of its label
    z_z: Float64Array  # (b,)
    z_mean: Float64Array  # (b, C)
    u_mean: Float64Array  # (b, C)
    u_u: Float64Array  # (b,)
    u_z: Float64Array  # (b,)
    gain: Float64Array  # (b,), g
    step: Float64Array  # (b,), 1 / (n - 1)

    @classmethod
    def of(cls, removal: Downdate, rows: Float64Array, own: IntArray) -> DowndateTerms:
        """Compute them for rows (b, d), each left out of its label in `own` (b,)."""
        means = removal.means
        count = removal.counts[own].astype(np.float64)
        single = count < 2
        here = np.arange(len(rows))
        z_z, z_mean = np.square(rows).sum(axis=1), rows @ means.T
        labels, places = np.unique(own, return_inverse=True)
        u_mean = z_mean - (means[labels] @ means.T)[places]  # (b, C)
        u_z = z_z - z_mean[here, own]
        u_u = np.maximum(u_z - u_mean[here, own], 0)
        step = np.where(single, 0, 1 / np.maximum(count - 1, 1))
        a = removal.downdate * count * step
        gain = a / np.maximum(1 - a * u_u, 1e-9)
        return cls(removal, own, single, z_z, z_mean, u_mean, u_u, u_z, gain, step)

    def to_means(self) -> tuple[Float64Array, Float64Array]:
        """Return cosines and squared distances (b, C) to the means."""
        s, here = self.removal.shift, np.arange(len(self.own))
        gain, step = self.gain[:, None], self.step
        squares = np.square(self.removal.means).sum(axis=1)
        # the means move by s z; the own mean also by -step u
        z_m = self.z_mean + s * self.z_z[:, None]
        u_m = self.u_mean + s * self.u_z[:, None]
        m_m = squares + 2 * s * self.z_mean + s * s * self.z_z[:, None]
        own = self.own
        m_m[here, own] += step**2 * self.u_u - 2 * step * self.u_mean[here, own] - 2 * step * s * self.u_z
        z_m[here, own] -= step * self.u_z
        u_m[here, own] -= step * self.u_u
        z_z = self.z_z + self.gain * self.u_z**2
        norms = np.sqrt(np.maximum((m_m + gain * u_m**2) * z_z[:, None], _TINY))
        cosines = (z_m + gain * self.u_z[:, None] * u_m) / norms
        # the common shift does not change a distance
        distances = self.z_z[:, None] - 2 * self.z_mean + squares
        distances += gain * (self.u_z[:, None] - self.u_mean) ** 2
        stretch = 1 + step  # z - (mu - step u) = (1 + step) u
        distances[here, own] = stretch**2 * self.u_u + self.gain * (stretch * self.u_u) ** 2
        empty = self.removal.counts == 0
        cosines[:, empty], distances[:, empty] = -np.inf, np.inf
        cosines[here[self.single], own[self.single]] = -np.inf
        distances[here[self.single], own[self.single]] = np.inf
        return cosines, distances
