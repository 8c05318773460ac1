"""Tells whether a dataset holds many images of few objects, for which leave-one-out is too optimistic.

Around an example of independent images, the distances to the nearest others of its label grow slowly: the first is
nearly as far as the fifth (their ratio measures the intrinsic dimension: Levina & Bickel, NIPS 2004). Another image of
the same object lies much closer than all else, so the ratio falls. For objects of m images it is the ratio of neighbor
k to neighbor 5k that falls, with k < m <= 5k.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.neighbors.gallery import Gallery

_STEPS = (1, 2, 4, 8, 16)  # k: objects of 2 to 80 images
_FACTOR = 5
# Independent photographs have median ratios of 0.86 to 0.99 at every k, repeated objects of 0.57 to 0.78 at some k,
# with trained encoders.
_LOW_FIRST, _LOW = 0.81, 0.75
# A weight-free descriptor has ratios near 1 everywhere. There the logarithm of the first is 1.0 to 1.75 times the
# smallest one farther out on independent photographs, and 2.1 to 5.5 times on repeated objects.
_HIGH_CONTRAST, _FAR = 2.0, 4
_MIN_OTHERS = 8  # at the edge of a label all ratios fall, so it must be larger than the neighborhood
_MOST_ROWS, _MOST_PAIRS = 2000, 200_000_000
_ROUNDING = 1e-6  # of a squared distance, ten times the error of float32: images that are no farther are copies


@dataclass(frozen=True)
class RepeatedObjects:
    """How close the nearest images of the same label are, compared with those farther out.

    `ratios` maps k to the median, over examples, of the distance to neighbor k divided by that to neighbor 5k. It is
    empty where most labels have fewer than nine images, about which nothing can be said.
    """

    ratios: Mapping[int, float]

    @property
    def lowest(self) -> float:
        """Return the lowest ratio, 0 to 1; 1 where there is none."""
        return min(self.ratios.values(), default=1.0)

    @property
    def likely(self) -> bool:
        """Return whether the dataset seems to hold many images of few objects."""
        if not self.ratios:
            return False
        if self.ratios[1] < _LOW_FIRST or self.lowest < _LOW:
            return True
        far = [-np.log(ratio) for step, ratio in self.ratios.items() if step >= _FAR and ratio < 1]
        return bool(far) and bool(-np.log(self.ratios[1]) / min(far) > _HIGH_CONTRAST)

    @classmethod
    def of(cls, gallery: Gallery) -> RepeatedObjects:
        """Measure at most 2,000 examples whose label has nine images or more."""
        others, neighbors = _distances(gallery)
        ratios = {}
        for step in _STEPS:
            usable = others >= (2 * _FACTOR * step if step > 1 else _MIN_OTHERS)
            if not len(usable) or 2 * usable.sum() < len(usable):
                break
            near, far = neighbors[usable, step - 1], neighbors[usable, _FACTOR * step - 1]
            apart = far > 0
            ratios[step] = float(np.median(near[apart] / far[apart])) if apart.any() else 0.0  # all are one image
        return cls(ratios)


def _distances(gallery: Gallery) -> tuple[IntArray, Float64Array]:
    """Sample n examples.

    Return how many others their label has, (n,), and the distances to the nearest of them, (n, 80), ascending; NaN
    where there are fewer.
    """
    eligible = np.flatnonzero(gallery.counts[gallery.label_ids] > _MIN_OTHERS)
    rows = _sample(eligible, max(min(_MOST_ROWS, _MOST_PAIRS // int(gallery.counts.max(initial=1))), 1))
    counts, most = gallery.counts[gallery.label_ids[rows]] - 1, _FACTOR * _STEPS[-1]
    neighbors = np.full((len(rows), most), np.nan)
    for place, row in enumerate(rows):
        distances = _nearest(gallery.embeddings, int(row), gallery.rows_of_label[gallery.label_ids[row]], most)
        neighbors[place, : len(distances)] = distances
    return counts, neighbors


def _nearest(embeddings: Float32Array, row: int, members: IntArray, most: int) -> Float64Array:
    """Return the distances from a row to the nearest `most` other members, ascending."""
    similarities = (embeddings[members] @ embeddings[row])[members != row].astype(np.float64)
    if len(similarities) > most:
        similarities = np.partition(similarities, -most)[-most:]
    squares = 2 - 2 * similarities
    return np.sort(np.sqrt(np.where(squares > _ROUNDING, squares, 0)))


def _sample(rows: IntArray, most: int) -> IntArray:
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
