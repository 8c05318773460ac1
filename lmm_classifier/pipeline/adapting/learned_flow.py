"""A flow whose metric unlabeled images helped to fit."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from lmm_classifier.calibration.unlabeled.learned_metric import LearnedMetric
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.pipeline.adapting.new_images import NewImages
from lmm_classifier.pipeline.adapting.reports import LEARNED, LearningReport
from lmm_classifier.pipeline.flow import Flow
from lmm_classifier.pipeline.thresholds import Thresholds

logger: logging.Logger = logging.getLogger(__name__)


def with_learned_metric(flow: Flow, encoders: Sequence[Encoder], images: NewImages) -> tuple[Flow, LearningReport]:
    """Fit the rule with the help of unlabeled images, where the guard allows it; else return the flow as it is.

    The thresholds are then of the new calibration and the configuration: a stored one is for the former metric. So no
    coarse label is answered: their thresholds are stored ones.
    """
    retriever, config = flow.retriever, flow.config
    indexes = [encoder.index for encoder in retriever.encoders]
    rules = [encoder.fit.rule for encoder in retriever.encoders]
    texts = [rule.text.embeddings if rule.text else None for rule in rules]
    learned = LearnedMetric.fit(config.retrieval, indexes, images.vectors, texts)
    guards = dict(zip(retriever.names, learned.guards))
    report = LearningReport(
        learned.is_used,
        len(images),
        images.unreadable,
        {name: guard.refusal for name, guard in guards.items() if guard.refusal},
        learned.guards[0].examples_per_label,
        {name: guard.accuracy for name, guard in guards.items() if guard.accuracy is not None},
        learned.accuracy,
        learned.confidence,
        learned.calibration_error,
    )
    if learned.calibration is None or learned.predictions is None:
        return flow, report
    adapted = retriever.calibrated_by(config.retrieval, learned.calibration, learned.predictions)
    thresholds = Thresholds.resolve(config.retrieval, learned.calibration, None, None)
    if flow.roll_up is not None and flow.roll_up.levels:
        logger.warning("No coarse label is answered: their thresholds are for the metric without unlabeled images.")
    roll_up = flow.roll_up.without_levels() if flow.roll_up else None
    learned_flow = flow.with_retriever(adapted, thresholds, encoders)
    return replace(learned_flow, adaptations=(*flow.adaptations, LEARNED), roll_up=roll_up), report
