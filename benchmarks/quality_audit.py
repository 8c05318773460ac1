"""Planted wrong labels that the audit finds, compared with cleanlab on kNN-10 probabilities."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.quality_data import LabeledVectors, index_of
from benchmarks.rows import Row
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core import metrics
from lmm_classifier.core.arrays import BoolArray, IntArray
from lmm_classifier.evaluation.audit import audit_opened_index

_FLIPPED = 0.05  # fraction of the labels
_SEEDS = 5


def flip_rows(name: str, images: LabeledVectors, command: str) -> Iterator[Row]:
    """Change 5 % of the labels, and measure the average precision of the ranking."""
    for kind, title in (("uniform", "uniform label flips"), ("nearest", "flips to the nearest label")):
        audit, cleanlab = [], []
        for seed in range(_SEEDS):
            label_ids, flipped = flip(images, kind, seed)
            audit.append(audit_precision(images, label_ids, flipped))
            cleanlab.append(cleanlab_precision(images, label_ids, flipped))
        best = 100 * float(np.mean(cleanlab))
        against = f"goal: best cleanlab score on kNN-10 ({best:.1f}) plus 10; 5 % flipped, {_SEEDS} seeds"
        value, full_name = 100 * float(np.mean(audit)), f"audit, {name}, {title}: average precision"
        yield Row(full_name, round(value, 2), "%", round(best + 10, 1), "higher", against, "", command)


def flip(images: LabeledVectors, kind: str, seed: int, fraction: float = _FLIPPED) -> tuple[IntArray, BoolArray]:
    """Return label ids (N,) of which some are wrong, and which."""
    names = np.unique(images.labels)
    true = np.searchsorted(names, images.labels)
    rng = np.random.default_rng(seed)
    flipped = np.zeros(len(true), bool)
    flipped[rng.choice(len(true), round(fraction * len(true)), replace=False)] = True
    if kind == "uniform":
        wrong = (true + rng.integers(1, len(names), len(true))) % len(names)
    else:
        means = np.stack([images.vectors[true == label].mean(axis=0) for label in range(len(names))])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        similarities = images.vectors @ means.T
        similarities[np.arange(len(true)), true] = -np.inf
        wrong = similarities.argmax(axis=1)
    return np.where(flipped, wrong, true), flipped


def audit_precision(images: LabeledVectors, label_ids: IntArray, flipped: BoolArray) -> float:
    """Return the average precision, 0 to 1, of this program's audit."""
    names = np.unique(images.labels)
    audit = audit_opened_index([index_of(images, names[label_ids])], PipelineConfig(), near_duplicate=1.0)
    deficit = np.array([audit.ranking[row] for row in range(len(label_ids))])
    return metrics.average_precision(deficit, flipped)


def cleanlab_precision(images: LabeledVectors, label_ids: IntArray, flipped: BoolArray) -> float:
    """Return the average precision, 0 to 1, of cleanlab's better score."""
    from cleanlab.rank import get_label_quality_scores
    from sklearn.neighbors import KNeighborsClassifier

    knn = KNeighborsClassifier(11, metric="cosine").fit(images.vectors, label_ids)
    neighbors = knn.kneighbors(return_distance=False)[:, :10]  # without itself
    labels = range(len(np.unique(images.labels)))
    probabilities = np.stack([(label_ids[neighbors] == label).mean(axis=1) for label in labels], axis=1)
    return max(
        metrics.average_precision(-get_label_quality_scores(label_ids, probabilities, method=method), flipped)
        for method in ("self_confidence", "normalized_margin")
    )
