"""Exact leave-one-out: every example compared with a corpus that does not hold it, in closed form.

Taking example i out of its label y (of n examples, mean mu) changes three things, all of rank one. With u = z_i - mu:
the metric A becomes A + g (Au)(Au)' (Sherman & Morrison, 1950), g = a / (1 - a u'Au), a = (1 - shrinkage) n / (n - 1) /
freedom; the own mean becomes mu - u / (n - 1); and since the corpus mean is taken off every row, the others move by
z_i / (N - 1). Shrinkage, its unit tr S / d, the freedom N - C and the square root are settings and stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.protocols import FloatArray, IntArray
from lmm_classifier.neighbors.gallery import Gallery

Doubles = NDArray[np.float64]

_TINY = 1e-30
_MOST_AT_ONCE = 1 << 26  # similarities held at a time: 268 MB in float32
_COLUMNS = 8192  # rows compared at a time


@dataclass(frozen=True)
class LeftOutComparison:
    """Examples of the gallery against the gallery without them; see `protocols.Comparison`."""

    similarities: FloatArray  # (b, N), -inf for itself
    cosines_to_means: Doubles  # (b, C), -inf where the label has no other example
    distances: Doubles  # (b, C), squared
    rows_of_label: list[IntArray]

    def __len__(self) -> int:
        return len(self.similarities)

    def nearest(self, query: int, k: int, rows: IntArray | None = None) -> tuple[IntArray, Doubles]:
        """Return the k nearest rows and their cosines: nearest first, equal ones by row."""
        rows = np.arange(self.similarities.shape[1]) if rows is None else rows
        near = self.similarities[query, rows]
        if len(near) > k:
            keep = np.flatnonzero(near >= np.partition(near, len(near) - k)[len(near) - k])
            rows, near = rows[keep], near[keep]
        rows, near = rows[np.isfinite(near)], near[np.isfinite(near)]
        order = np.lexsort((rows, -near))[:k]
        return rows[order], near[order].astype(np.float64)

    def nearest_each(self, k: int) -> tuple[IntArray, Doubles]:
        """Return the k nearest rows of every example (b, k) and their cosines; row -1, cosine -inf for missing ones."""
        every = np.arange(self.similarities.shape[1])
        return self.nearest_among([(query, every) for query in range(len(self))], min(k, len(every)))

    def nearest_among(self, wanted: Sequence[tuple[int, IntArray]], k: int) -> tuple[IntArray, Doubles]:
        """Return for each example with the rows to choose from its k nearest (w, k) and their cosines."""
        rows, cosines = np.full((len(wanted), k), -1, np.int64), np.full((len(wanted), k), -np.inf)
        for place, (query, among) in enumerate(wanted):
            found, near = self.nearest(query, k, among)
            rows[place, : len(found)], cosines[place, : len(found)] = found, near
        return rows, cosines

    def top_mean(self, m: int) -> Doubles:
        """Return for each label the mean of its m best cosines (b, C); -inf where none is left."""
        means = np.full(self.cosines_to_means.shape, -np.inf)
        for label, rows in enumerate(self.rows_of_label):
            k = min(m, len(rows))
            if k == 0:
                continue
            best = self.similarities[:, rows]
            best.partition(len(rows) - k, axis=1)
            best = best[:, len(rows) - k :].astype(np.float64)
            there = np.isfinite(best)
            count = there.sum(axis=1)
            total = np.where(there, best, 0).sum(axis=1)
            means[:, label] = np.where(count > 0, total / np.maximum(count, 1), -np.inf)
        return means

    def best_label(self) -> Doubles:
        """Return per query the largest mean of a label's nearest cosine and the cosine to its mean row."""
        return np.asarray(((self.top_mean(1) + self.mean_cosines()) / 2).max(axis=1, initial=-np.inf))

    def mean_cosines(self) -> Doubles:
        """Return the cosines (b, C) to the mean row of each label."""
        return self.cosines_to_means

    def square_distances(self) -> Doubles:
        """Return the squared distances (b, C) to the mean row of each label."""
        return self.distances


@dataclass(frozen=True)
class Removal:
    """What taking one example out of a corpus changes, as far as its labels and their means tell.

    `downdate` is (1 - shrinkage) / freedom of the metric, 0 where there is none; `shift` is 1 / (N - 1) where the
    corpus mean was taken off the rows, else 0.
    """

    counts: IntArray  # (C,)
    means: Doubles  # (C, d)
    downdate: float = 0.0
    shift: float = 0.0

    @classmethod
    def of(cls, counts: IntArray, means: Doubles, downdate: float, centred: bool) -> Removal:
        """Take examples out of labels of `counts` (C,) rows with these means (C, d)."""
        total = int(counts.sum())
        return cls(counts, means, downdate, 1 / (total - 1) if centred and total > 1 else 0.0)

    def to_means(self, rows: Doubles, own: IntArray) -> tuple[Doubles, Doubles]:
        """Cosines and squared distances (b, C) of rows (b, d) of the labels `own`, each left out, to the means."""
        return _Terms.of(self, rows, own).to_means()


class LeaveOneOut:
    """Leaves rows of a gallery out one by one.

    `downdate` is (1 - shrinkage) / freedom of the gallery's metric, 0 where it has none; `centred` says whether the
    corpus mean was taken off its rows.
    """

    def __init__(self, gallery: Gallery, downdate: float = 0.0, centred: bool = False) -> None:
        self._gallery = gallery
        self._removal = Removal.of(gallery.counts, gallery.means, downdate, centred)

    def blocks(self, wanted: IntArray | None = None, size: int = 512) -> Iterator[tuple[IntArray, LeftOutComparison]]:
        """Walk over the rows `wanted` (all, by default) in blocks: their numbers, and how they compare."""
        count = len(self._gallery.label_ids)
        wanted = np.arange(count) if wanted is None else wanted
        size = max(min(size, _MOST_AT_ONCE // max(count, 1)), 1)
        for start in range(0, len(wanted), size):
            rows = wanted[start : start + size]
            yield rows, self._compare(rows)

    def _compare(self, numbers: IntArray) -> LeftOutComparison:
        own = self._gallery.label_ids[numbers]
        rows = self._gallery.rows(numbers)
        terms = _Terms.of(self._removal, rows, own)
        cosines, distances = terms.to_means()
        return LeftOutComparison(self._to_rows(terms, numbers, rows), cosines, distances, self._gallery.rows_of_label)

    def _to_rows(self, terms: _Terms, numbers: IntArray, rows: Doubles) -> FloatArray:
        """Cosines (b, N) to all other rows, in float32; by parts that stay in the cache, for this is the most work."""
        count = len(self._gallery.label_ids)
        cosines = np.empty((len(numbers), count), np.float32)
        labels, places = np.unique(terms.own, return_inverse=True)
        z_r, mean_r = self._gallery.products(rows), self._gallery.products(self._removal.means[labels])
        for start in range(0, count, _COLUMNS):
            part = slice(start, start + _COLUMNS)
            near = z_r(part)
            u_r = near - mean_r(part)[places] if terms.gain.any() else None
            cosines[:, part] = self._cosines(terms, near, u_r, self._gallery.squares[part])
        cosines[np.arange(len(numbers)), numbers] = -np.inf
        return cosines

    def _cosines(self, terms: _Terms, near: FloatArray, u_r: FloatArray | None, r_r: FloatArray) -> FloatArray:
        """Cosines (b, n) from the products z r, u r and r r with n rows; in place."""
        s = np.float32(self._removal.shift)
        gain, z_z, u_z = (one.astype(np.float32)[:, None] for one in (terms.gain, terms.z_z, terms.u_z))
        squares = np.broadcast_to(r_r, near.shape).copy()
        if s:
            squares += 2 * s * near
            squares += s * s * z_z
        if u_r is not None:
            u_r += s * u_z
            near += gain * u_z * u_r
            u_r *= u_r
            u_r *= gain
            squares += u_r
        if s:
            near += s * z_z
        squares *= z_z + gain * u_z**2
        np.maximum(squares, np.float32(_TINY), out=squares)
        near /= np.sqrt(squares, out=squares)
        return np.clip(near, -1, 1, out=near)  # where nothing of a row is left, its cosine is but rounding


@dataclass(frozen=True)
class _Terms:
    """Inner products for one block of rows; z is a row, u its deviation from the mean of its label."""

    removal: Removal
    own: IntArray  # (b,) labels
    single: NDArray[np.bool_]  # (b,) the only example of its label
    z_z: Doubles  # (b,)
    z_mean: Doubles  # (b, C)
    u_mean: Doubles  # (b, C)
    u_u: Doubles  # (b,)
    u_z: Doubles  # (b,)
    gain: Doubles  # (b,), g
    step: Doubles  # (b,), 1 / (n - 1)

    @classmethod
    def of(cls, removal: Removal, rows: Doubles, own: IntArray) -> _Terms:
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

    def to_means(self) -> tuple[Doubles, Doubles]:
        """Cosines and squared distances (b, C) to the means."""
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
        # a distance does not feel the common shift
        distances = self.z_z[:, None] - 2 * self.z_mean + squares
        distances += gain * (self.u_z[:, None] - self.u_mean) ** 2
        stretch = 1 + step  # z - (mu - step u) = (1 + step) u
        distances[here, own] = stretch**2 * self.u_u + self.gain * (stretch * self.u_u) ** 2
        empty = self.removal.counts == 0
        cosines[:, empty], distances[:, empty] = -np.inf, np.inf
        cosines[here[self.single], own[self.single]] = -np.inf
        distances[here[self.single], own[self.single]] = np.inf
        return cosines, distances
