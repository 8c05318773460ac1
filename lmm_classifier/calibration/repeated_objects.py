"""Tells whether a dataset holds many images of few objects, for which leave-one-out is too optimistic.

Around an example of independent images, the logarithm of the distance to the nearest, second, third other image of its
label grows at the same rate everywhere: the inverse of the intrinsic dimension (Levina & Bickel, NIPS 2004), and faster
only at the edge of the label. Other images of the same object lie much closer than all else. So for objects of m images
it grows faster from neighbor k < m to neighbor 3k + 1 >= m than beyond.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.protocols import RowStore
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.gallery import Gallery

_STEPS = (1, 2, 4, 8, 16)  # k: objects of 2 to 49 images
# Independent images have contrasts of at most 0.9, whatever the encoder and the number of images per label. Repeated
# photographs have 1.3 to 5.
HIGH_CONTRAST = 1.0
_MIN_OTHERS = 8  # neighbors 4 to 8 say how distances grow beyond the nearest four
_MOST_ROWS, _MOST_PAIRS = 2000, 200_000_000
_STORED_ROWS = 20_000  # of whole labels that are read from a store
_ROUNDING = 1e-6  # of a squared distance, ten times the error of float32: images that are no farther are copies


@dataclass(frozen=True)
class RepeatedObjects:
    """How much faster distances to images of the same label grow near an example than farther out.

    `contrasts` maps k to the rate from neighbor k to neighbor 3k + 1, divided by the rate from there to a neighbor
    three times as far in the order. Rates are medians over examples. It is empty where most labels have fewer than nine
    images, about which nothing can be said.
    """

    contrasts: Mapping[int, float]

    @property
    def highest(self) -> float:
        """Return the highest contrast; 0 where there is none."""
        return max(self.contrasts.values(), default=0.0)

    @property
    def likely(self) -> bool:
        """Return whether the dataset seems to hold many images of few objects."""
        return self.highest > HIGH_CONTRAST

    @classmethod
    def of_index(cls, index: Index) -> RepeatedObjects:
        """Measure an index in the space of its encoder.

        A transform that was fitted to the examples makes directions with little variance as large as others, and so
        raises the contrast of independent images above `HIGH_CONTRAST`.
        """
        gallery = index.gallery
        if not isinstance(index.transform, IdentityTransform):
            gallery = Gallery(index.vectors(), gallery.label_ids, gallery.labels)
        return cls.of(gallery)

    @classmethod
    def of_store(cls, store: RowStore) -> RepeatedObjects:
        """Measure some labels of a store, at random, each with all of its rows; nothing where none is small enough."""
        order = np.random.default_rng(0).permutation(np.flatnonzero(store.counts > _MIN_OTHERS))
        sizes = store.counts[order]
        chosen = np.sort(order[(np.cumsum(sizes) <= _STORED_ROWS) | (sizes == sizes.min(initial=0))])
        chosen = chosen[np.cumsum(store.counts[chosen]) <= _STORED_ROWS]
        blocks = list(store.rows_of_labels(chosen, ("vectors",))) if len(chosen) else []
        label_ids = np.concatenate([np.empty(0, np.int64), *(block.label_ids for block in blocks)])
        none = np.empty((0, store.means.shape[1]), np.float32)
        vectors = np.concatenate([none, *(np.asarray(block.vectors, np.float32) for block in blocks)])
        return cls.of(Gallery(vectors, label_ids, len(store.counts)))

    @classmethod
    def of(cls, gallery: Gallery) -> RepeatedObjects:
        """Measure at most 2,000 examples whose label has nine images or more."""
        others, neighbors = _distances(gallery)
        contrasts = {}
        for step in _STEPS:
            middle = _middle(step)
            usable = others >= max(2 * middle, _MIN_OTHERS)
            if not len(usable) or 2 * usable.sum() < len(usable):
                break
            ends = np.minimum(3 * middle, others[usable])
            contrasts[step] = _contrast(neighbors[usable], step, middle, ends)
        return cls(contrasts)


def _middle(step: int) -> int:
    return 3 * step + 1


def _contrast(neighbors: Float64Array, start: int, middle: int, ends: IntArray) -> float:
    """Compare the growth of distances (n, 147) from neighbor `start` to `middle` with that to neighbor `ends` (n,)."""
    last = neighbors[np.arange(len(neighbors)), ends - 1]
    apart = last > 0
    if not apart.any():
        return float("inf")  # all are one image
    logs = np.log(np.maximum(neighbors, np.sqrt(_ROUNDING)))[apart]
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, neighbors.shape[1]))])  # of place - 1
    near = (logs[:, middle - 1] - logs[:, start - 1]) / (harmonic[middle - 1] - harmonic[start - 1])
    far = (np.log(last[apart]) - logs[:, middle - 1]) / (harmonic[ends[apart] - 1] - harmonic[middle - 1])
    growth = float(np.median(far))
    return float(np.median(near)) / growth if growth > 0 else float("inf")


def _distances(gallery: Gallery) -> tuple[IntArray, Float64Array]:
    """Sample n examples.

    Return how many others their label has, (n,), and the distances to the nearest of them, (n, 147), ascending; NaN
    where there are fewer.
    """
    eligible = np.flatnonzero(gallery.counts[gallery.label_ids] > _MIN_OTHERS)
    rows = _sample(eligible, max(min(_MOST_ROWS, _MOST_PAIRS // int(gallery.counts.max(initial=1))), 1))
    counts, most = gallery.counts[gallery.label_ids[rows]] - 1, 3 * _middle(_STEPS[-1])
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
