"""Soft k-means in which proposed groups compete with the known labels for the images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.linalg import single_threaded_blas
from lmm_classifier.core.numerics import softmax
from lmm_classifier.neighbors.gallery import directions

_TEMPERATURE = 0.05  # of the cosines
_WEIGHT = 0.3  # of an image, compared with a labeled one
_ROUNDS = 10
_AT_ONCE = 4_000_000  # probabilities: 32 MB


@dataclass(frozen=True)
class Competition:
    """Where n images belong: C known labels come first, then the groups."""

    centers: Float32Array  # (C + K, d) unit vectors
    winners: IntArray  # (n,) below C: a known label, else C and the number of a group
    nearest_labels: IntArray  # (n,) the nearest known label; -1 where there is none


@single_threaded_blas
def compete(embeddings: Float32Array, label_sums: Float64Array, seeds: Float32Array) -> Competition:
    """Let K groups grow from seeds.

    The known labels keep their own examples, which count more than unlabeled images. So groups take what the known
    labels do not explain.

    Args:
        embeddings: (n, d) unit vectors of the images.
        label_sums: (C, d) of the unit vectors of the examples of each known label.
        seeds: (K, d) unit vectors.
    """
    base = np.concatenate([label_sums, seeds.astype(np.float64)])
    centers = directions(base.astype(np.float32))[0]
    for _ in range(_ROUNDS if len(base) else 0):
        sums = np.zeros_like(base)
        for part in _parts(len(embeddings), len(base)):
            cosines = np.asarray(embeddings[part] @ centers.T, np.float64)
            sums += softmax(cosines, _TEMPERATURE).T @ embeddings[part]
        centers = directions((base + _WEIGHT * sums).astype(np.float32))[0]
    labels = len(label_sums)
    winners, nearest_labels = np.zeros(len(embeddings), np.int64), np.full(len(embeddings), -1, np.int64)
    for part in _parts(len(embeddings), len(base)) if len(base) else ():
        cosines = np.asarray(embeddings[part] @ centers.T, np.float64)
        winners[part] = cosines.argmax(axis=1)
        if labels:
            nearest_labels[part] = cosines[:, :labels].argmax(axis=1)
    return Competition(centers, winners, nearest_labels)


def _parts(count: int, centers: int) -> list[slice]:
    step = max(_AT_ONCE // max(centers, 1), 1)
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]
