"""Novelty: how familiar an image is to a dataset, as one number that is comparable across encoders.

Five signals are standardized by their values for the dataset's own examples, each left out, and then averaged:

- the local density relative to that of the neighbors (the idea of the local outlier factor: Breunig, Kriegel, Ng &
  Sander, 2000; scikit-learn's `LocalOutlierFactor`);
- the similarity of the nearest example;
- the label with the best mean of nearest example and prototype;
- the energy over the prototypes in the within-class metric (Liu, Wang, Owens & Li, arXiv 2010.03759);
- the nearest neighbors of one label in that metric.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.progress import Progress, ProgressCallback
from lmm_classifier.core.protocols import Similarities
from lmm_classifier.neighbors.gallery import Gallery

# (queries, k) -> the k nearest rows and their cosines
SearchRows = Callable[[Float32Array, int], tuple[IntArray, Float64Array]]

NEIGHBORS = 10  # their mean similarity is the density
TOP = 5  # neighbors of one label
_ENERGY = 0.05  # temperature of the energy, in units of cosine similarity
_CLIP = 4.0  # in units of the spread: one signal alone cannot decide
_BLOCK = 1024
_MOST_AT_ONCE = 1 << 26  # similarities held at a time: 268 MB
# Rows times rows that are compared to find the density around every row: 200,000 rows take some minutes, a million
# would take an hour. For more rows, half as many pairs are spent on a sample.
_MOST_PAIRS = 40_000_000_000
_TINY = 1e-6  # of 1 - cosine: below that, two images are the same


@dataclass(frozen=True)
class Familiarity:
    """The usual values of the signals in a dataset, and the familiarity score that follows from them.

    Familiarity is an in-distribution score (Dietterich & Guyer, 2022, arXiv 2203.02486): higher is more familiar, as
    in scikit-learn's `score_samples`. The out-of-distribution score is -familiarity. The unit is one robust standard
    deviation; a typical example has 0. N examples in the dataset, n queries or left-out examples.
    """

    knn_distance: Float64Array  # (N,) 1 - mean similarity of each example to its nearest others
    center: Float64Array  # (5,) medians of the signals of left-out examples
    spread: Float64Array  # (5,) their robust standard deviations

    def of(self, plain: Similarities, in_metric: Similarities) -> Float64Array:
        """Return the familiarity (n,) of queries; -4 where no example is left to compare with.

        `plain` are their similarities in the space of the index, `in_metric` those in the within-class metric.
        """
        return self.of_signals(signals(plain, in_metric, self.knn_distance))

    def of_signals(self, signals: Float64Array) -> Float64Array:
        """Return the familiarity (n,) for `signals` (n, 5)."""
        return np.asarray(np.clip((signals - self.center) / self.spread, -_CLIP, _CLIP).mean(axis=1))

    @classmethod
    def fit(cls, knn_distance: Float64Array, held_out: Float64Array) -> Familiarity:
        """Fit to `knn_distance` (N,) and the signals (n, 5) of left-out examples."""
        center, spread = center_and_spread(held_out)
        return cls(knn_distance, center, spread)

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays from which `from_arrays` rebuilds it."""
        return {"knn_distance": self.knn_distance, "center": self.center, "spread": self.spread}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]], count: int) -> Familiarity:
        """Rebuild from `to_arrays` for `count` examples.

        Raises:
            KeyError: an array is missing.
            ValueError: a shape or a number is wrong.
        """
        values = [np.asarray(arrays[name], np.float64) for name in ("knn_distance", "center", "spread")]
        knn_distance, center, spread = values
        if knn_distance.shape != (count,) or center.shape != (5,) or spread.shape != (5,):
            raise ValueError(
                f"familiarity of {knn_distance.shape} examples, {center.shape} signals; expected {count} and 5"
            )
        if not all(np.isfinite(array).all() for array in values[1:]) or not (spread > 0).all():
            raise ValueError("familiarity holds numbers that are not finite")
        return cls(knn_distance, center, spread)


def signals(plain: Similarities, in_metric: Similarities, knn_distance: Float64Array) -> Float64Array:
    """Return the five signals (n, 5) of queries, higher is more familiar; see `Familiarity`."""
    return signals_with_neighbors(plain.nearest_each(NEIGHBORS), plain, in_metric, knn_distance)


def signals_with_neighbors(
    neighbors: tuple[IntArray, Float64Array], plain: Similarities, in_metric: Similarities, knn_distance: Float64Array
) -> Float64Array:
    """Return the same for given neighbors: places in `knn_distance` (n, k), rows or labels, -1 for none; cosines."""
    places, cosines = neighbors
    nearest = cosines[:, 0] if cosines.shape[1] else np.full(len(cosines), -np.inf)
    return _stack(_relative_density(places, cosines, knn_distance), nearest, plain, in_metric)


def signals_held_out(
    density: NeighborDensity, rows: IntArray, plain: Similarities, in_metric: Similarities
) -> Float64Array:
    """Return the five signals (b, 5) of the examples `rows` (b,), each compared with a dataset without it."""
    nearest = plain.top_k_mean(1).max(axis=1, initial=-np.inf)
    return _stack(density.held_out(rows), nearest, plain, in_metric)


def _stack(
    relative_density: Float64Array, nearest: Float64Array, plain: Similarities, in_metric: Similarities
) -> Float64Array:
    energy = _energy(in_metric.mean_cosines())
    top = in_metric.top_k_mean(TOP).max(axis=1, initial=-np.inf)
    # prototypes alone miss labels of varied appearance, and nearest examples alone vary much: so the best of both
    return np.stack([relative_density, nearest, plain.best_label(), energy, top], axis=1)


def _energy(cosines: Float64Array) -> Float64Array:
    """Return the soft maximum (n,) of the cosines (n, C) to the prototypes."""
    top = cosines.max(axis=1, initial=-np.inf)
    shifted = cosines - np.where(np.isfinite(top), top, 0)[:, None]
    with np.errstate(divide="ignore"):
        return np.asarray(top + _ENERGY * np.log(np.exp(shifted / _ENERGY).sum(axis=1)))


@dataclass(frozen=True)
class NeighborDensity:
    """The nearest other rows of N rows: one more than needed, so that any one of them can be left out.

    In a very large dataset they are known for some rows only. Then every row gets the mean distance of its label.
    """

    rows: IntArray  # (N, k + 1), nearest first; -1 where they are not known
    cosines: Float64Array  # (N, k + 1); NaN where they are not known
    k: int
    knn_distance: Float64Array  # (N,): 1 - mean similarity to the k nearest others

    @classmethod
    def of(
        cls,
        gallery: Gallery,
        sample: IntArray | None = None,
        search: SearchRows | None = None,
        progress: ProgressCallback | None = None,
    ) -> NeighborDensity:
        """Search the nearest others of the rows of a gallery.

        Args:
            gallery: N rows.
            sample: in a very large gallery, the rows that can be left out; by default none. The labels are judged by
                further rows.
            search: finds the nearest rows of a large matrix faster than a comparison with all of it.
            progress: called between two blocks of rows.
        """
        embeddings, count = gallery.embeddings, len(gallery.embeddings)
        wanted = max(min(NEIGHBORS + 1, count - 1), 0)
        k = min(NEIGHBORS, wanted)
        find_others = _by_comparing(embeddings) if search is None else _by_searching(embeddings, search)
        if not is_large(count):
            rows, cosines = _find_in_blocks(find_others, [np.arange(count)], count, wanted, progress)
            return cls(rows, cosines, k, 1 - cosines[:, :k].mean(axis=1) if k else np.ones(count))
        sample = np.empty(0, np.int64) if sample is None else sample
        further = _rows_to_judge_labels(count, sample)
        rows, cosines = _find_in_blocks(find_others, [sample, further], count, wanted, progress)
        distances = np.full(count, np.nan)
        distances[further] = 1 - cosines[further, :k].mean(axis=1)
        return cls(rows, cosines, k, by_label(distances, gallery))

    def held_out(self, rows: IntArray) -> Float64Array:
        """Return the relative density (b,) of `rows` (b,), each absent from the density of its neighbors too."""
        if self.k == 0:
            return np.full(len(rows), -1.0)
        neighbors, k = self.rows[rows, : self.k], self.k  # (b, k)
        if is_large(len(self.rows)):
            return _relative_density(neighbors, self.cosines[rows, :k], self.knn_distance)
        cosines = self.cosines[neighbors]  # (b, k, k + 1): to their own nearest
        is_absent = self.rows[neighbors] == rows[:, None, None]
        is_absent[:, :, k:] = False  # the spare one was not counted
        without = np.where(is_absent, 0, cosines)[:, :, :k].sum(axis=2)
        lost = is_absent.any(axis=2)
        spare = cosines[:, :, k] if cosines.shape[2] > k else None
        count = k - lost if spare is None else np.full(lost.shape, k)
        mean = (without + (0 if spare is None else lost * spare)) / np.maximum(count, 1)
        around = (1 - mean).mean(axis=1)
        return np.asarray(-(self.knn_distance[rows] + _TINY) / (around + _TINY))


def is_large(count: int) -> bool:
    """Return whether a dataset has too many examples to find the density around each: more than 200,000."""
    return count * count > _MOST_PAIRS


def by_label(knn_distance: Float64Array, gallery: Gallery) -> Float64Array:
    """Return for every row (N,) the mean of its label's distances that are not NaN; where there are none, of all."""
    known = ~np.isnan(knn_distance)
    ids, values = gallery.label_ids[known], knn_distance[known]
    counts = np.bincount(ids, minlength=gallery.labels)
    means = np.bincount(ids, values, gallery.labels) / np.maximum(counts, 1)
    overall = values.mean() if len(values) else 1.0
    return np.asarray(np.where(counts > 0, means, overall)[gallery.label_ids])


_FindOthers = Callable[[IntArray, int], tuple[IntArray, Float64Array]]  # (rows, k) -> their k nearest others, cosines


def _find_in_blocks(
    find_others: _FindOthers, parts: Sequence[IntArray], count: int, wanted: int, progress: ProgressCallback | None
) -> tuple[IntArray, Float64Array]:
    """Return the `wanted` nearest others of the rows in `parts`; -1 and NaN for the rest of `count` rows."""
    rows, cosines = np.full((count, wanted), -1, np.int64), np.full((count, wanted), np.nan)
    size, done = max(min(_BLOCK, _MOST_AT_ONCE // max(count, 1)), 1), 0
    for which in parts if wanted else ():
        for start in range(0, len(which), size):
            part = which[start : start + size]
            rows[part], cosines[part] = find_others(part, wanted)
            done += len(part)
            if progress is not None:
                progress(Progress("searching neighbors", done, sum(map(len, parts))))
    return rows, cosines


def _rows_to_judge_labels(count: int, sample: IntArray) -> IntArray:
    """Return an even choice of the rows outside of `sample`.

    The density around a label must not include the rows that are left out: a new image is not in the dataset either.
    """
    rest = np.setdiff1d(np.arange(count), sample)
    size = min(_MOST_PAIRS // 2 // count, len(rest))
    return rest[np.linspace(0, len(rest) - 1, size).astype(np.int64)]


def _by_comparing(embeddings: Float32Array) -> _FindOthers:
    def find_others(which: IntArray, wanted: int) -> tuple[IntArray, Float64Array]:
        similarities: Float32Array = embeddings[which] @ embeddings.T  # (b, N)
        similarities[np.arange(len(similarities)), which] = -np.inf
        nearest = np.argpartition(similarities, len(embeddings) - wanted, axis=1)[:, len(embeddings) - wanted :]
        cosines = np.take_along_axis(similarities, nearest, axis=1).astype(np.float64)
        order = np.argsort(-cosines, axis=1, kind="stable")
        return np.take_along_axis(nearest, order, axis=1), np.take_along_axis(cosines, order, axis=1)

    return find_others


def _by_searching(embeddings: Float32Array, search: SearchRows) -> _FindOthers:
    def find_others(which: IntArray, wanted: int) -> tuple[IntArray, Float64Array]:
        rows, cosines = search(embeddings[which], wanted + 1)
        # a row is among its own nearest, or is replaced by one of its duplicates: drop one
        is_itself = rows == which[:, None]
        is_itself[~is_itself.any(axis=1), -1] = True
        shape = (len(which), wanted)
        return rows[~is_itself].reshape(shape), cosines[~is_itself].reshape(shape)

    return find_others


def _relative_density(rows: IntArray, cosines: Float64Array, knn_distance: Float64Array) -> Float64Array:
    """Return the density (n,) at queries relative to that around their nearest `rows` (n, k), -1 for none."""
    exists = rows >= 0
    count = np.maximum(exists.sum(axis=1), 1)
    mean = np.where(exists, cosines, 0).sum(axis=1) / count
    around = np.where(exists, knn_distance[rows] if len(knn_distance) else 0, 0).sum(axis=1) / count
    return np.asarray(np.where(exists.any(axis=1), -(1 - mean + _TINY) / (around + _TINY), -np.inf))


def center_and_spread(signals: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return the median and the robust standard deviation (s,) of the finite values of signals (n, s)."""
    center, spread = np.zeros(signals.shape[1]), np.ones(signals.shape[1])
    for number, signal in enumerate(signals.T):
        finite = signal[np.isfinite(signal)]
        if len(finite):
            center[number] = np.median(finite)
            robust = 1.4826 * np.median(np.abs(finite - center[number]))
            spread[number] = max(robust, 0.2 * finite.std(), _TINY)  # half the examples may be alike
    return center, spread


def keep_known_threshold(familiarity: Float64Array, keep: float) -> float:
    """Return the largest threshold that at least a fraction `keep` of the known (n,) reaches; higher is more familiar.

    New images of known labels then reach it with probability at least `keep`, if they are exchangeable with the
    examples (a conformal quantile: Vovk, Gammerman & Shafer, 2005).
    """
    if not 0 < keep < 1:
        raise ValueError(f"expected a fraction between 0 and 1, got {keep}")
    finite = np.sort(familiarity[np.isfinite(familiarity)])
    if not len(finite):
        raise ValueError("no example has a neighbor")
    place = math.floor((1 - keep) * (len(finite) + 1) + 1e-9) - 1  # 1 - 0.9 is a little less than 0.1
    if place < 0:
        return float(np.nextafter(finite[0], -np.inf))
    return float(finite[min(place, len(finite) - 1)])  # a fraction near 0 asks for a place after the last
