"""Estimates how many unknown images will be accepted: labels of the index, held out, play the unknown ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.calibration.rule_fitting import ChosenMetric, densely, sample_rows, score_held_out
from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.core.metrics import auroc
from lmm_classifier.core.progress import Progress, ProgressCallback
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.metric import WithinClassMetric, fit_scatter, gallery_in_metric
from lmm_classifier.neighbors.novelty import Familiarity, NeighborDensity, keep_known_threshold, signals
from lmm_classifier.neighbors.voting import RuleSpec

_FOLDS = 5  # of labels
_ROWS = 3000  # examples compared: an estimate needs no more


@dataclass(frozen=True)
class OpenSetTradeoff:
    """An estimate of the price of accepting known images.

    `accepted` maps a true-positive rate of known images, 0 to 1, to the fraction of similar unknown images accepted.
    """

    auroc: float
    accepted: dict[float, float]

    def to_json(self) -> str:
        """Return the text that is stored with a calibration."""
        return json.dumps({"auroc": self.auroc, "accepted": [*self.accepted.items()]})

    @classmethod
    def from_json(cls, text: str) -> OpenSetTradeoff:
        """Rebuild from `to_json`; raise KeyError, TypeError or ValueError if it is damaged."""
        values = json.loads(text)
        accepted = {float(keep): float(fraction) for keep, fraction in values["accepted"]}
        numbers = [float(values["auroc"]), *accepted, *accepted.values()]
        if not all(0 <= number <= 1 for number in numbers):
            raise ValueError(f"impossible estimate of unknown images: {text[:100]}")
        return cls(numbers[0], accepted)


def estimate_open_set_tradeoff(
    metrics: Sequence[WithinClassMetric],
    galleries: Sequence[Gallery],
    weights: Float64Array,
    keep_known: Sequence[float],
    progress: ProgressCallback | None = None,
) -> OpenSetTradeoff | None:
    """Hold out a fifth of the labels at a time and measure how familiar they look to the others.

    The estimate is for unknown images that resemble the known labels as much as these resemble each other. About
    other unknown images it says nothing.

    Args:
        metrics: of the fitted rule of each encoder; its shrinkage is used again.
        galleries: all examples, with the vectors of each encoder.
        weights: of the encoders, (E,); the familiarity is their weighted mean.
        keep_known: true-positive rates of known images, 0 to 1.
        progress: called after each fifth.

    Returns:
        The estimate. None where fewer than three labels have more than one example.
    """
    gallery = galleries[0]
    rows = sample_rows(len(gallery.embeddings), densely(_ROWS, gallery.labels))
    label_ids = gallery.label_ids[rows]
    counts = np.bincount(label_ids, minlength=gallery.labels)
    labels = np.random.default_rng(0).permutation(np.flatnonzero(counts > 1))
    if len(labels) < 3:
        return None
    areas, accepted = [], []
    folds = min(_FOLDS, len(labels))
    for number in range(folds):
        is_unknown = np.isin(label_ids, labels[number::folds])
        parts = [
            _familiarity(metric, _renumbered(each, rows[~is_unknown]), each, rows[is_unknown])
            for metric, each in zip(metrics, galleries, strict=True)
        ]
        of_known, of_unknown = (np.average([part[side] for part in parts], axis=0, weights=weights) for side in (0, 1))
        areas.append(auroc(of_known, of_unknown))
        accepted.append([float((of_unknown >= keep_known_threshold(of_known, keep)).mean()) for keep in keep_known])
        if progress is not None:
            progress(Progress("estimating unknown images", number + 1, folds))
    means = np.mean(accepted, axis=0)
    return OpenSetTradeoff(float(np.mean(areas)), {keep: float(mean) for keep, mean in zip(keep_known, means)})


def _familiarity(
    metric: WithinClassMetric, known: Gallery, gallery: Gallery, unknown_rows: IntArray
) -> tuple[Float64Array, Float64Array]:
    """Fit the familiarity on the known labels; return that of the known rows, left out, and of the unknown ones."""
    scatter = fit_scatter(known.embeddings, known.label_ids, known.labels, metric.power_normalize)
    chosen = ChosenMetric(scatter.metric(metric.shrinkage), scatter, {})
    density = NeighborDensity.of(known)
    no_experts = RuleSpec("none", (), True, metric.power_normalize, True)
    known_in_metric = gallery_in_metric(chosen.metric, known)
    held_out = score_held_out(no_experts, chosen, known, known_in_metric, density, np.arange(len(known.embeddings)))
    familiarity = Familiarity.fit(density.knn_distance, held_out.signals)
    plain = known.compare(gallery.embeddings[unknown_rows])
    mapped = known_in_metric.compare(chosen.metric.whiten(plain.embeddings))
    in_order = np.argsort(held_out.rows, kind="stable")
    of_known = familiarity.of_signals(held_out.signals[in_order])
    return of_known, familiarity.of_signals(signals(plain, mapped, density.knn_distance))


def _renumbered(gallery: Gallery, rows: IntArray) -> Gallery:
    """Return the gallery of some rows, whose labels are numbered without gaps."""
    names, label_ids = np.unique(gallery.label_ids[rows], return_inverse=True)
    return Gallery(gallery.embeddings[rows], label_ids.astype(np.int64), len(names))
