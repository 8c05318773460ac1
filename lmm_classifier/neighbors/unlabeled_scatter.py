"""A within-class metric that unlabeled images help to fit. They are no examples: no vote counts them.

Few examples per label tell little about the differences within labels. Unlabeled images tell more: soft k-means assigns
them to the labels, and the scatter around these is pooled with that of the examples (the idea of semi-supervised
discriminant analysis; soft k-means with labeled seeds: Ren et al., 2018, arXiv 1803.00676, "Meta-learning for
semi-supervised few-shot classification").
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.linalg import single_threaded_blas
from lmm_classifier.core.numerics import softmax
from lmm_classifier.neighbors.gallery import directions
from lmm_classifier.neighbors.metric import (
    WithinClassMetric,
    WithinClassScatter,
    apply_power_normalization,
    fit_scatter,
    scatter_of,
)

ASSIGNED_SHRINKAGE = 0.9  # of the metric in which images are assigned to labels
SHRINKAGE = 0.6  # of the metric with the unlabeled images
_ROUNDS, _TEMPERATURE, _WEIGHT = 10, 0.05, 0.3  # of soft k-means; an unlabeled image counts less than an example
_BLOCK = 1024


def fit_scatter_with_unlabeled(
    embeddings: Float32Array,
    label_ids: IntArray,
    labels: int,
    unlabeled: Float32Array,
    power_normalize: bool | None = None,
) -> WithinClassScatter:
    """Measure the scatter within labels over examples and unlabeled images together.

    Args:
        embeddings: of the examples, (N, d) normalized.
        label_ids: of the examples, (N,) numbers below `labels`.
        labels: C.
        unlabeled: embeddings of other images, (m, d) normalized.
        power_normalize: as `fit_scatter` takes it; None decides by the examples and the images.
    """
    if power_normalize is None:
        power_normalize = bool((embeddings >= 0).all() and (unlabeled >= 0).all())
    scatter = fit_scatter(embeddings, label_ids, labels, power_normalize)
    metric = scatter.metric(ASSIGNED_SHRINKAGE)
    responsibilities = assign_softly(metric, embeddings, label_ids, labels, unlabeled)
    return _pooled(scatter, embeddings, label_ids, unlabeled, responsibilities)


@single_threaded_blas
def assign_softly(
    metric: WithinClassMetric, embeddings: Float32Array, label_ids: IntArray, labels: int, unlabeled: Float32Array
) -> Float64Array:
    """Return how far each unlabeled image belongs to each label, (m, C), by soft k-means that starts at the examples.

    The sum over the labels is 1; a label without examples gets nothing.
    """
    examples, images = (directions(metric.whiten(rows))[0].astype(np.float64) for rows in (embeddings, unlabeled))
    sums = np.zeros((labels, embeddings.shape[1]))
    np.add.at(sums, label_ids, examples)
    is_empty = np.bincount(label_ids, minlength=labels) == 0
    prototypes = _normalized(sums)
    responsibilities = np.zeros((len(images), labels))
    for _ in range(_ROUNDS):
        responsibilities = softmax(np.where(is_empty, -np.inf, images @ prototypes.T), _TEMPERATURE)
        prototypes = _normalized(sums + _WEIGHT * responsibilities.T @ images)
    return responsibilities


@single_threaded_blas
def _pooled(
    scatter: WithinClassScatter,
    embeddings: Float32Array,
    label_ids: IntArray,
    unlabeled: Float32Array,
    responsibilities: Float64Array,
) -> WithinClassScatter:
    """Return the scatter of all around common means; the center stays that of the examples."""
    labels, power = responsibilities.shape[1], scatter.power_normalize
    certain = np.eye(labels)[label_ids]
    counts = certain.sum(axis=0) + responsibilities.sum(axis=0)
    sums = certain.sum(axis=0)[:, None] * scatter.means
    for part, rows in _rows(unlabeled, power):
        sums += responsibilities[part].T @ rows
    means = sums / np.maximum(counts, 1e-12)[:, None]

    def deviations() -> Iterator[Float64Array]:
        for assigned, matrix in ((certain, embeddings), (responsibilities, unlabeled)):
            for part, rows in _rows(matrix, power):
                yield rows - assigned[part] @ means

    count = len(embeddings) + len(unlabeled)
    freedom = max(count - int((certain.sum(axis=0) > 0).sum()), 1)
    return scatter_of(deviations(), count, freedom, means, scatter.center, power)


def _rows(matrix: Float32Array, power_normalize: bool) -> Iterator[tuple[slice, Float64Array]]:
    for start in range(0, len(matrix), _BLOCK):
        part = slice(start, start + _BLOCK)
        yield part, apply_power_normalization(matrix[part], power_normalize).astype(np.float64)


def _normalized(rows: Float64Array) -> Float64Array:
    return np.asarray(rows / np.maximum(np.sqrt(np.square(rows).sum(axis=1, keepdims=True)), 1e-12))
