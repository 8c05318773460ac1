"""Cross-fitting: examples are judged by a corpus fitted without their whole fold.

For what leave-one-out cannot answer in closed form: a space that was itself fitted on the examples, and examples that
come in groups (several shots of one object), which must be left out together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.calibration.fit import ChosenMetric, Heard
from lmm_classifier.core.protocols import FloatArray, IntArray, SpaceRecipe
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.metric import WithinClassMetric, fit_scatter, whitened
from lmm_classifier.neighbors.novelty import Density, signals
from lmm_classifier.neighbors.voting import Recipe

Doubles = NDArray[np.float64]
Fold = tuple[IntArray, IntArray]  # the rows that are held out together, and those of them that are judged

_FOLDS = 10
_MANY = 2000  # examples from which fewer folds do: each is large enough
_FOLDS_OF_MANY = 5
_BLOCK = 256  # queries compared at a time


def hear_held_out(
    recipe_for: Callable[[IntArray], Recipe],
    chosen: ChosenMetric,
    space: SpaceRecipe,
    vectors: FloatArray,
    gallery: Gallery,
    folds: Sequence[Fold],
    beside: FloatArray | None = None,
) -> Heard:
    """Ask the voices about judged rows of each fold, with space and metric fitted to the rows that are not held out.

    `vectors` (N, dim) are as the encoder made them. `recipe_for` makes the rule for the labels (n,) of the other rows.
    The shrinkage of the metric stays the chosen one. `beside` (m, dim) are vectors that the space is fitted to as well.
    """
    heard = []
    for rows, judged in folds:
        if not len(judged):
            continue
        rest = np.setdiff1d(np.arange(len(vectors)), rows)
        fitted = space.fit(_Blocks(vectors, rest, beside))
        others = Gallery(fitted.transform(vectors[rest]), gallery.label_ids[rest], gallery.labels)
        recipe = recipe_for(others.label_ids)
        scatter = fit_scatter(others.units, others.label_ids, others.labels, recipe.root)
        metric = scatter.metric(chosen.metric.shrinkage)
        crowding, white = Density.of(others).crowding, whitened(metric, others)
        units = fitted.transform(vectors[judged])
        found = hear_others(recipe, metric, others, white, crowding, units, gallery.label_ids[judged])
        heard.append(replace(found, rows=judged))
    return Heard.join(heard)


def hear_others(
    recipe: Recipe,
    metric: WithinClassMetric,
    gallery: Gallery,
    white_gallery: Gallery,
    crowding: Doubles,
    units: FloatArray,
    label_ids: IntArray,
) -> Heard:
    """Ask the voices about unit rows (n, d) of other pictures, whose labels are `label_ids` (n,).

    `white_gallery` is the gallery in the metric.
    """
    heard = []
    for start in range(0, len(units), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(units)))
        plain = gallery.compare(units[rows])
        white = white_gallery.compare(metric.whiten(plain.units))
        scores = [voice.scores(white if recipe.whitened else plain) for voice in recipe.voices]
        heard.append(Heard(rows, label_ids[rows], scores, signals(plain, white, crowding)))
    return Heard.join(heard)


class _Blocks:
    """Walks over some rows of a matrix and over others, anew with each call; see `protocols.Rows`."""

    def __init__(self, vectors: FloatArray, rows: IntArray, beside: FloatArray | None) -> None:
        self._vectors = vectors
        self._rows = rows
        self._beside = vectors[:0] if beside is None else beside

    def __call__(self) -> Iterator[FloatArray]:
        for start in range(0, len(self._rows), 1024):
            yield self._vectors[self._rows[start : start + 1024]]
        for start in range(0, len(self._beside), 1024):
            yield self._beside[start : start + 1024]


def folds_of(label_ids: IntArray) -> list[IntArray]:
    """Deal rows (N,) into folds so that each fold has its share of every label."""
    count = min(_FOLDS if len(label_ids) < _MANY else _FOLDS_OF_MANY, len(label_ids))
    shuffled = np.random.default_rng(0).permutation(len(label_ids))
    order = shuffled[np.argsort(label_ids[shuffled], kind="stable")]
    return [np.sort(order[number::count]) for number in range(count)]


def folds_of_groups(groups: NDArray[np.int64]) -> list[IntArray]:
    """Deal whole groups (N,) into folds of about equal size, the largest first."""
    names, sizes = np.unique(groups, return_counts=True)
    count = min(_FOLDS, len(names))
    loads, fold_of = np.zeros(count), np.empty(len(names), np.int64)
    for group in np.argsort(-sizes, kind="stable"):
        fold_of[group] = loads.argmin()
        loads[fold_of[group]] += sizes[group]
    fold_of_row = fold_of[np.searchsorted(names, groups)]
    return [np.flatnonzero(fold_of_row == number) for number in range(count)]
