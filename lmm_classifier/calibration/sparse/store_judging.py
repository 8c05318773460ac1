"""Predicts rows of a store, each left out, by a calibration that is fitted already: more rows than fit it, in blocks.

A fit takes the probabilities of all labels for all of its examples at once, so with many labels it takes few examples.
Once it is there, a block is predicted and what is wanted of it is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.fit import Fit, fusion_fit
from lmm_classifier.calibration.fusion.cascade import answered_by
from lmm_classifier.calibration.fusion.encoder_fit import EncoderFit
from lmm_classifier.calibration.fusion.encoder_fusion import EncoderFusion
from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.core.numerics import log_softmax
from lmm_classifier.core.protocols import RowStore
from lmm_classifier.neighbors.gathering.reading import ReadingLimits
from lmm_classifier.neighbors.gathering.store_similarities import StoreComparison
from lmm_classifier.neighbors.novelty import NEIGHBORS, signals_with_neighbors
from lmm_classifier.neighbors.voting import RuleSpec


@dataclass(frozen=True)
class _Judge:
    """Predicts rows of one encoder, each left out, by what is fitted to its vectors."""

    spec: RuleSpec
    fit: EncoderFit
    comparison: StoreComparison

    @classmethod
    def of(cls, store: RowStore, fit: EncoderFit) -> _Judge:
        """Take the rows, and a fit that was made through them."""
        metric, counts = fit.rule.metric, store.counts
        if fit.rule.spec is None:
            raise ValueError("expected a fitted rule, got one that is only described")
        freedom = max(int(counts.sum()) - int((counts > 0).sum()), 1)
        comparison = StoreComparison(
            store.with_norms(metric.digest, metric.norms, store=False),
            metric,
            store.means if fit.means is None else fit.means,
            fit.scores_in_metric,
            ReadingLimits(),
            fit.unread,
            (1 - metric.shrinkage) / freedom,
        )
        return cls(fit.rule.spec, fit, comparison)

    def predict(self, ids: IntArray) -> HeldOutPredictions:
        """Return the predictions of rows by their ids, as many as are compared at once."""
        rows, rule, familiarity = self.comparison.store.rows_of_ids(ids, ("vectors",)), self.fit.rule, []
        logs, experts = list[Float64Array](), list[list[Float64Array]]()
        for part, plain, mapped in self.comparison.blocks(rows):
            compared = mapped if self.spec.within_class_metric else plain
            scores = [expert.scores(compared) for expert in self.spec.experts]
            combined = rule.combine(scores, np.asarray(rows.vectors, np.float32)[part])
            logs.append(log_softmax(combined / rule.temperature))
            experts.append([log_softmax(each / at) for each, at in zip(scores, rule.temperatures, strict=True)])
            knn_distance = self.fit.familiarity.knn_distance
            signals = signals_with_neighbors(plain.labels_of_nearest(NEIGHBORS), plain, mapped, knn_distance)
            familiarity.append(self.fit.familiarity.of_signals(signals))
        by_expert = [np.concatenate(parts) for parts in zip(*experts)]
        return HeldOutPredictions(ids, rows.label_ids, np.concatenate(logs), by_expert, np.concatenate(familiarity))


def judged_blocks(stores: Sequence[RowStore], fitted: Fit, ids: IntArray) -> Iterator[HeldOutPredictions]:
    """Yield predictions of rows, each left out, block by block; of several encoders fused as in the fit.

    Args:
        stores: the same rows, with the vectors of each encoder.
        fitted: of `fit_through_stores`, with the probabilities of all labels (not `sparse`).
        ids: (n,) of the rows.
    """
    calibration, predictions = fitted
    judges = [_Judge.of(store, fit) for store, fit in zip(stores, calibration.fits, strict=True)]
    weights = _expert_weights(calibration, predictions, stores[0].counts)
    size = min(judge.comparison.queries_at_once for judge in judges)
    for start in range(0, len(ids), size):
        yield _fused(calibration, [judge.predict(ids[start : start + size]) for judge in judges], weights)


def _expert_weights(calibration: Calibration, predictions: HeldOutPredictions, counts: IntArray) -> list[Float64Array]:
    """Return the weights (E,) of the encoders for each expert, as the fit has them."""
    fusion, equal = calibration.cascade.stages[-1].fusion, False
    if len(predictions.each) > 1:
        equal = bool((fusion.weights == 1 / len(fusion.weights)).all())
    return fusion_fit(counts, predictions, equal).expert_weights(calibration.cascade.encoders)


def _fused(
    calibration: Calibration, each: Sequence[HeldOutPredictions], weights: Sequence[Float64Array]
) -> HeldOutPredictions:
    if len(each) == 1:
        return each[0]
    asked = [each[place] for place in calibration.cascade.encoders]
    experts = [
        EncoderFusion(of_expert).log_probabilities(logs)
        for of_expert, logs in zip(weights, zip(*(part.expert_log_probabilities for part in asked)), strict=True)
    ]
    logs, familiarity = answered_by(calibration.cascade, each)
    return HeldOutPredictions(each[0].rows, each[0].label_ids, logs, experts, familiarity)
