"""A flow whose probabilities are by the label priors of new images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.calibration.priors.bias_correction import BiasCorrection
from lmm_classifier.calibration.priors.prior_estimate import PriorEstimate, estimate_priors
from lmm_classifier.calibration.request import DEFAULT_KEEP_KNOWN
from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.pipeline.adapting.new_images import NewImages
from lmm_classifier.pipeline.adapting.reports import ESTIMATED, PriorReport
from lmm_classifier.pipeline.flow import Flow
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retriever import Retriever
from lmm_classifier.pipeline.thresholds import Threshold


def with_estimated_priors(flow: Flow, encoders: Sequence[Encoder], images: NewImages) -> tuple[Flow, PriorReport]:
    """Estimate the label priors of new images and use them, where the gate is open; else return the flow as it is.

    Images that are unknown do not count, because they have none of the labels. The same threshold leaves out held-out
    examples, so that the gate compares like with like.
    """
    retriever = flow.retriever
    scores = [scored for _, scored in retriever.score_in_batches(QueryVectors.given(*images.vectors))]
    logs = np.concatenate([np.empty((0, len(flow.index.label_names))), *(part.log_probabilities for part in scores)])
    held_out, least = _held_out(flow, retriever), _least_familiarity(flow)
    is_known = np.concatenate([np.empty(0), *(part.familiarity for part in scores)]) >= least
    is_counted = held_out.familiarity >= least
    correction = BiasCorrection.fit(held_out.log_probabilities[is_counted], held_out.label_ids[is_counted])
    estimate = estimate_priors(logs[is_known], correction)
    unknown = int(np.count_nonzero(~is_known))
    report = _report(flow.index.label_names, estimate, logs[is_known], images.unreadable, unknown)
    if not estimate.is_used:
        return flow, report
    found = flow.thresholds
    coarse = {depth: _for_other_priors(threshold) for depth, threshold in found.coarse.items()}
    thresholds = replace(found, confidence=_for_other_priors(found.confidence), coarse=coarse)
    adapted = flow.with_retriever(replace(retriever, priors=estimate), thresholds, encoders)
    return replace(adapted, adaptations=(*flow.adaptations, ESTIMATED)), report


def _least_familiarity(flow: Flow) -> float:
    """Return the familiarity below which an image is unknown; where similarity decides that, the usual one."""
    found = flow.thresholds.familiarity_threshold
    return flow.retriever.calibration.familiarity_threshold(DEFAULT_KEEP_KNOWN) if found is None else found


def _for_other_priors(threshold: Threshold) -> Threshold:
    return replace(threshold, source=f"{threshold.source}, not certified for other label priors")


def _held_out(flow: Flow, retriever: Retriever) -> HeldOutPredictions:
    if retriever.predictions is not None:
        return retriever.predictions
    texts = [encoder.fit.rule.text.embeddings if encoder.fit.rule.text else None for encoder in retriever.encoders]
    indexes = [encoder.index for encoder in retriever.encoders]
    return fit_by_leave_one_out(flow.config.retrieval, indexes, texts=texts)[1]


def _report(
    labels: Sequence[str], estimate: PriorEstimate, logs: Float64Array, unreadable: int, unknown: int
) -> PriorReport:
    pairs = zip(labels, estimate.former.tolist(), estimate.shares.tolist())
    changed = int((estimate.apply(logs).argmax(axis=1) != logs.argmax(axis=1)).sum()) if len(logs) else 0
    return PriorReport(
        estimate.is_used,
        estimate.images,
        unreadable,
        unknown,
        estimate.gain,
        estimate.usual_gain,
        {label: (former, new) for label, former, new in pairs if not np.isnan(new)},
        changed,
    )
