"""Novelty: how familiar a picture looks to this corpus, as one number that is comparable across encoders.

Five signals, each standardised by what it says of the corpus' own examples when they are left out, then averaged:
density relative to that of the neighbourhood (the idea of the local outlier factor: Breunig, Kriegel, Ng & Sander,
2000), the nearest example, the label whose nearest example and prototype are best, the energy over the prototypes of
the within-class metric (Liu, Wang, Owens & Li, arXiv 2010.03759), and the best neighbours of one label in that metric.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.protocols import Comparison, FloatArray, IntArray
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.leave_one_out import LeftOutComparison

Doubles = NDArray[np.float64]
SearchRows = Callable[[FloatArray, int], tuple[IntArray, Doubles]]  # (queries, k) -> the k nearest rows, cosines

NEIGHBOURS = 10  # whose mean similarity is the density
TOP = 5  # neighbours of one label
_ENERGY = 0.05  # temperature of the energy, in units of cosine similarity
_CLIP = 4.0  # spreads: one signal alone cannot decide
_BLOCK = 1024
_MOST_AT_ONCE = 1 << 26  # similarities held at a time: 268 MB
# Rows times rows that are compared to know the density around every one: 200,000 rows take some minutes, a million
# would take an hour. Beyond, half as much is spent on a sample.
_MOST_PAIRS = 40_000_000_000
_TINY = 1e-6  # of 1 - cosine: pictures nearer than that are the same


@dataclass(frozen=True)
class Familiarity:
    """What is usual in a corpus.

    `crowding` (N,): 1 - mean similarity of each example to its nearest others. `centre`, `spread` (5,): median and
    robust standard deviation of the signals of left-out examples. `left_out` (n,): the familiarity of those, ascending.
    """

    crowding: Doubles
    centre: Doubles
    spread: Doubles
    left_out: Doubles

    def of(self, plain: Comparison, white: Comparison) -> Doubles:
        """Familiarity (n,) of queries, higher is more familiar: 0 for a typical example, in standard deviations.

        `plain` compares them in the space of the index, `white` in the within-class metric. -4 where nothing is left
        to compare with.
        """
        return self.of_signals(signals(plain, white, self.crowding))

    def of_signals(self, found: Doubles) -> Doubles:
        """Familiarity (n,) of what has the `signals` (n, 5)."""
        return _standardised(found, self.centre, self.spread)

    @classmethod
    def fit(cls, crowding: Doubles, left_out: Doubles) -> Familiarity:
        """Learn what is usual from the `signals` (n, 5) of examples that were left out."""
        centre, spread = _centre_and_spread(left_out)
        return cls(crowding, centre, spread, np.sort(_standardised(left_out, centre, spread)))

    def threshold(self, keep: float) -> float:
        """The familiarity that the share `keep` (0..1) of new pictures of known labels reaches."""
        return keep_known_threshold(self.left_out, keep) if len(self.left_out) else -np.inf

    def state(self) -> dict[str, NDArray[np.generic]]:
        """The arrays that rebuild it."""
        return {
            "crowding": self.crowding,
            "centre": self.centre,
            "spread": self.spread,
            "left_out": self.left_out,
        }

    @classmethod
    def restore(cls, state: Mapping[str, NDArray[np.generic]], count: int) -> Familiarity:
        """Rebuild from `state` for `count` examples; raises KeyError or ValueError if it is not one."""
        arrays = [np.asarray(state[name], np.float64) for name in ("crowding", "centre", "spread", "left_out")]
        crowding, centre, spread, left_out = arrays
        if crowding.shape != (count,) or centre.shape != (5,) or spread.shape != (5,) or left_out.ndim != 1:
            raise ValueError(
                f"familiarity of {crowding.shape} examples, {centre.shape} signals; expected {count} and 5"
            )
        if not all(np.isfinite(array).all() for array in arrays[1:]) or not (spread > 0).all():
            raise ValueError("familiarity holds numbers that are not finite")
        return cls(crowding, centre, spread, left_out)


def signals(plain: Comparison, white: Comparison, crowding: Doubles) -> Doubles:
    """Return the five signals (n, 5) of queries, higher is more familiar; see `Familiarity`."""
    rows, cosines = plain.nearest_each(NEIGHBOURS)
    nearest = cosines[:, 0] if cosines.shape[1] else np.full(len(cosines), -np.inf)
    return _stack(_relative(rows, cosines, crowding), nearest, plain, white)


def signals_left_out(density: Density, rows: IntArray, plain: LeftOutComparison, white: LeftOutComparison) -> Doubles:
    """Return the five signals (b, 5) of the examples `rows`, each left out of everything it is compared with."""
    nearest = plain.top_mean(1).max(axis=1, initial=-np.inf)
    return _stack(density.left_out(rows), nearest, plain, white)


def _stack(relative: Doubles, nearest: Doubles, plain: Comparison, white: Comparison) -> Doubles:
    energy = _energy(white.mean_cosines())
    top = white.top_mean(TOP).max(axis=1, initial=-np.inf)
    # prototypes alone overlook labels of several looks, nearest examples alone are restless: hence the best of both
    return np.stack([relative, nearest, plain.best_label(), energy, top], axis=1)


def _energy(cosines: Doubles) -> Doubles:
    """Soft maximum (n,) of the cosines (n, C) to the prototypes."""
    top = cosines.max(axis=1, initial=-np.inf)
    shifted = cosines - np.where(np.isfinite(top), top, 0)[:, None]
    with np.errstate(divide="ignore"):
        return np.asarray(top + _ENERGY * np.log(np.exp(shifted / _ENERGY).sum(axis=1)))


@dataclass(frozen=True)
class Density:
    """The nearest others of rows: one more than needed, so that any one of them can be left out.

    In a very large corpus they are known of some rows only, and every row counts as crowded as its label.
    """

    rows: IntArray  # (N, k + 1), nearest first; -1 where they are not known
    cosines: Doubles  # (N, k + 1); NaN where they are not known
    k: int
    crowding: Doubles  # (N,): 1 - mean similarity to the k nearest others

    @classmethod
    def of(cls, gallery: Gallery, sample: IntArray | None = None, search: SearchRows | None = None) -> Density:
        """Search the nearest others of the rows of a gallery.

        Of all, or, where that would take too long, of the rows `sample`, which can be left out then (None: none), and
        of others by which the labels are judged. `search` finds the nearest of a large matrix faster than comparing
        with all of it.
        """
        units, count = gallery.units, len(gallery.units)
        wanted = max(min(NEIGHBOURS + 1, count - 1), 0)
        k = min(NEIGHBOURS, wanted)
        rows, cosines = np.full((count, wanted), -1, np.int64), np.full((count, wanted), np.nan)
        find = _by_comparing(units) if search is None else _by_searching(units, search)
        size = max(min(_BLOCK, _MOST_AT_ONCE // max(count, 1)), 1)

        def look(which: IntArray) -> None:
            for start in range(0, len(which) if wanted else 0, size):
                part = which[start : start + size]
                rows[part], cosines[part] = find(part, wanted)

        if not is_large(count):
            look(np.arange(count))
            crowding = 1 - cosines[:, :k].mean(axis=1) if k else np.ones(count)
            return cls(rows, cosines, k, crowding)
        sample = np.empty(0, np.int64) if sample is None else sample
        look(sample)
        # a row that is left out must not be among those that tell how crowded its own label is: for a new picture
        # it is not there either
        rest = np.setdiff1d(np.arange(count), sample)
        many = min(_MOST_PAIRS // 2 // count, len(rest))
        beside = rest[np.linspace(0, len(rest) - 1, many).astype(np.int64)]
        look(beside)
        some = np.full(count, np.nan)
        some[beside] = 1 - cosines[beside, :k].mean(axis=1)
        return cls(rows, cosines, k, by_label(some, gallery))

    def left_out(self, rows: IntArray) -> Doubles:
        """Relative density (b,) of `rows` when each is absent, from the density of its neighbours too."""
        if self.k == 0:
            return np.full(len(rows), -1.0)
        near, k = self.rows[rows, : self.k], self.k  # (b, k)
        if is_large(len(self.rows)):
            return _relative(near, self.cosines[rows, :k], self.crowding)
        cosines = self.cosines[near]  # (b, k, k + 1): to their own nearest
        absent = self.rows[near] == rows[:, None, None]
        absent[:, :, k:] = False  # the spare one was not counted
        without = np.where(absent, 0, cosines)[:, :, :k].sum(axis=2)
        gone = absent.any(axis=2)
        spare = cosines[:, :, k] if cosines.shape[2] > k else None
        count = k - gone if spare is None else np.full(gone.shape, k)
        mean = (without + (0 if spare is None else gone * spare)) / np.maximum(count, 1)
        around = (1 - mean).mean(axis=1)
        return np.asarray(-(self.crowding[rows] + _TINY) / (around + _TINY))


def is_large(count: int) -> bool:
    """Whether a corpus has too many examples to know the density around each: more than 200,000."""
    return count * count > _MOST_PAIRS


def by_label(crowding: Doubles, gallery: Gallery) -> Doubles:
    """The mean crowding of its label for every row (N,), by those that are not NaN; where none is, the mean of all."""
    known = ~np.isnan(crowding)
    ids, values = gallery.label_ids[known], crowding[known]
    counts = np.bincount(ids, minlength=gallery.labels)
    means = np.bincount(ids, values, gallery.labels) / np.maximum(counts, 1)
    overall = values.mean() if len(values) else 1.0
    return np.asarray(np.where(counts > 0, means, overall)[gallery.label_ids])


_Find = Callable[[IntArray, int], tuple[IntArray, Doubles]]


def _by_comparing(units: FloatArray) -> _Find:
    def find(which: IntArray, wanted: int) -> tuple[IntArray, Doubles]:
        near: FloatArray = units[which] @ units.T  # (b, N)
        near[np.arange(len(near)), which] = -np.inf
        found = np.argpartition(near, len(units) - wanted, axis=1)[:, len(units) - wanted :]
        values = np.take_along_axis(near, found, axis=1).astype(np.float64)
        order = np.argsort(-values, axis=1, kind="stable")
        return np.take_along_axis(found, order, axis=1), np.take_along_axis(values, order, axis=1)

    return find


def _by_searching(units: FloatArray, search: SearchRows) -> _Find:
    def find(which: IntArray, wanted: int) -> tuple[IntArray, Doubles]:
        rows, cosines = search(units[which], wanted + 1)
        # itself is among the nearest, or as many duplicates of it: one goes
        mine = rows == which[:, None]
        mine[~mine.any(axis=1), -1] = True
        shape = (len(which), wanted)
        return rows[~mine].reshape(shape), cosines[~mine].reshape(shape)

    return find


def _relative(rows: IntArray, cosines: Doubles, crowding: Doubles) -> Doubles:
    """Density (n,) at queries relative to that around their nearest `rows` (n, k), -1 for none."""
    there = rows >= 0
    count = np.maximum(there.sum(axis=1), 1)
    mean = np.where(there, cosines, 0).sum(axis=1) / count
    around = np.where(there, crowding[rows] if len(crowding) else 0, 0).sum(axis=1) / count
    return np.asarray(np.where(there.any(axis=1), -(1 - mean + _TINY) / (around + _TINY), -np.inf))


def _centre_and_spread(signals: Doubles) -> tuple[Doubles, Doubles]:
    """Median and robust standard deviation (5,) of the finite signals (n, 5)."""
    centre, spread = np.zeros(5), np.ones(5)
    for number, signal in enumerate(signals.T):
        finite = signal[np.isfinite(signal)]
        if len(finite):
            centre[number] = np.median(finite)
            robust = 1.4826 * np.median(np.abs(finite - centre[number]))
            spread[number] = max(robust, 0.2 * finite.std(), _TINY)  # half the examples may be alike
    return centre, spread


def _standardised(signals: Doubles, centre: Doubles, spread: Doubles) -> Doubles:
    return np.asarray(np.clip((signals - centre) / spread, -_CLIP, _CLIP).mean(axis=1))


def keep_known_threshold(familiarity: Doubles, keep: float) -> float:
    """The largest threshold that at least the share `keep` of the known (n,) reaches; higher is more familiar.

    New pictures of known labels then reach it with probability `keep` at least, if they are exchangeable with the
    examples (a conformal quantile: Vovk, Gammerman & Shafer, 2005).
    """
    if not 0 < keep < 1:
        raise ValueError(f"expected a share between 0 and 1, got {keep}")
    finite = np.sort(familiarity[np.isfinite(familiarity)])
    if not len(finite):
        raise ValueError("no example has a neighbour")
    place = math.floor((1 - keep) * (len(finite) + 1)) - 1
    return float(finite[place]) if place >= 0 else float(np.nextafter(finite[0], -np.inf))
