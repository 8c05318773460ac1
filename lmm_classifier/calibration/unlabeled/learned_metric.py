"""A calibration whose metric unlabeled images help to fit, with its own temperatures and familiarity.

Leave-one-out on the examples does not see what the unlabeled images change. So the dataset is split virtually: the
examples of a fold hide their labels and join the unlabeled images, and the other folds answer for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.cross_fitting import score_folds, score_queries
from lmm_classifier.calibration.fit import FittedPart, fuse_parts
from lmm_classifier.calibration.fusion.encoder_fit import EncoderFit
from lmm_classifier.calibration.predictions import HeldOutPredictions, HeldOutScores
from lmm_classifier.calibration.rule_fitting import ChosenMetric, choose_metric, fit_rule
from lmm_classifier.calibration.unlabeled.guard import Guard, few_folds
from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.metrics import expected_calibration_error
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.metric import gallery_in_metric
from lmm_classifier.neighbors.novelty import Familiarity, NeighborDensity
from lmm_classifier.neighbors.unlabeled_scatter import SHRINKAGE, fit_scatter_with_unlabeled
from lmm_classifier.neighbors.voting import make_rule

Each = Sequence[Float32Array | None]  # something for each encoder


@dataclass(frozen=True)
class LearnedMetric:
    """A calibration by virtual splits of the dataset, and what the guard says of each encoder."""

    calibration: Calibration | None  # None: no encoder passes its guard, so nothing is fitted
    predictions: HeldOutPredictions | None  # of the virtual splits, ascending by row
    guards: tuple[Guard, ...]
    images: int  # unlabeled ones

    @property
    def is_used(self) -> bool:
        """Return whether the metric of any encoder was fitted with unlabeled images."""
        return self.calibration is not None

    @property
    def accuracy(self) -> float | None:
        """Return the accuracy in the virtual splits, 0 to 1; None where nothing is fitted."""
        return None if self.predictions is None else float(self.predictions.correct.mean())

    @property
    def confidence(self) -> float | None:
        """Return the mean confidence in the virtual splits, 0 to 1, to compare with the accuracy there."""
        return None if self.predictions is None else float(self.predictions.confidence.mean())

    @property
    def calibration_error(self) -> float | None:
        """Return the expected calibration error in the virtual splits, 0 to 1; None where nothing is fitted.

        With less than some hundred examples chance makes it too high: each of its bins has a few examples only.
        """
        if self.predictions is None:
            return None
        return expected_calibration_error(self.predictions.confidence, self.predictions.correct)

    @classmethod
    def fit(
        cls, config: RetrievalConfig, indexes: Sequence[Index], vectors: Sequence[Float32Array], texts: Each = ()
    ) -> LearnedMetric:
        """Fit the configured rule with the help of unlabeled images.

        Each encoder has a guard and a metric of its own. One that does not pass keeps its metric, and is calibrated on
        the same splits, so that all can be fused.

        Args:
            config: names the rule.
            indexes: the examples, with the vectors of each encoder.
            vectors: of the m unlabeled images by each encoder, (m, dim).
            texts: for each encoder, embeddings of the label names, (C, d), that join as an expert where they help.
        """
        guards = tuple(Guard.of(config, index, len(rows)) for index, rows in zip(indexes, vectors, strict=True))
        if all(guard.refusal for guard in guards):
            return cls(None, None, guards, len(vectors[0]))
        folds = few_folds(indexes[0])
        parts = [
            _part(config, index, None if guard.refusal else index.transform.transform(rows), folds, names)
            for index, guard, rows, names in zip(indexes, guards, vectors, texts or [None] * len(indexes))
        ]
        calibration, predictions = fuse_parts(config, indexes, parts, equal=False)
        return cls(calibration, predictions.in_order_of_rows(), guards, len(vectors[0]))


def _part(
    config: RetrievalConfig,
    index: Index,
    unlabeled: Float32Array | None,
    folds: list[IntArray],
    texts: Float32Array | None,
) -> FittedPart:
    """Fit the rule to the vectors of one encoder; without `unlabeled`, its metric is the ordinary one."""
    gallery = index.gallery
    spec = make_rule(config, gallery.label_ids, gallery.labels)
    chosen = choose_metric(spec, gallery)
    if unlabeled is None:
        held_out = score_folds(
            lambda label_ids: make_rule(config, label_ids, gallery.labels),
            chosen.metric.shrinkage,
            index.transform.fitter,
            index.vectors(),
            gallery,
            [(rows, rows) for rows in folds],
        )
    else:
        given = gallery.embeddings, gallery.label_ids, gallery.labels, unlabeled, spec.power_normalize
        scatter = fit_scatter_with_unlabeled(*given)
        chosen = ChosenMetric(scatter.metric(SHRINKAGE), scatter, {})
        held_out = _virtual_splits(config, gallery, unlabeled, folds)
    familiarity = Familiarity.fit(NeighborDensity.of(gallery).knn_distance, held_out.signals)
    of_examples = familiarity.of_signals(held_out.signals)
    rule, predictions = fit_rule(spec, chosen, held_out, of_examples, gallery.embeddings[held_out.rows], texts)
    return EncoderFit(rule, familiarity), predictions


def _virtual_splits(
    config: RetrievalConfig, gallery: Gallery, unlabeled: Float32Array, folds: list[IntArray]
) -> HeldOutScores:
    """Score each fold by the others, in a metric that the fold helps to fit without its labels."""
    parts = []
    for rows in folds:
        rest = np.setdiff1d(np.arange(len(gallery.embeddings)), rows)
        others = Gallery(gallery.embeddings[rest], gallery.label_ids[rest], gallery.labels)
        spec = make_rule(config, others.label_ids, others.labels)
        images = np.concatenate([unlabeled, gallery.embeddings[rows]])
        given = others.embeddings, others.label_ids, others.labels, images, spec.power_normalize
        metric = fit_scatter_with_unlabeled(*given).metric(SHRINKAGE)
        in_metric, knn_distance = gallery_in_metric(metric, others), NeighborDensity.of(others).knn_distance
        queries, label_ids = gallery.embeddings[rows], gallery.label_ids[rows]
        scores = score_queries(spec, metric, others, in_metric, knn_distance, queries, label_ids)
        parts.append(replace(scores, rows=rows))
    return HeldOutScores.join(parts)
