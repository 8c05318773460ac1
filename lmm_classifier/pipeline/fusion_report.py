"""What `calibrate` says of several encoders: their weights, what other orders would give, and unknown images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.fit import fusion_fit
from lmm_classifier.calibration.fusion.ladders import DEFAULT_TARGET, Ladder, measure_ladders
from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.calibration.repeated_objects import RepeatedObjects
from lmm_classifier.calibration.request import DEFAULT_CONFIDENCE_LEVEL, CalibrationRequest
from lmm_classifier.calibration.simulated_unknowns import OpenSetTradeoff, estimate_open_set_tradeoff
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.progress import ProgressCallback
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.matching import likely_places
from lmm_classifier.index.vector_index import Index

_KEEP_KNOWN_RATES = (0.99, 0.98, 0.97, 0.96, 0.95, 0.94, 0.92, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)


def fusion_notes(index: Index, calibration: Calibration, config: PipelineConfig) -> Iterator[str]:
    """Say how several encoders are fused, which of them are not asked, and whether others are configured."""
    names, stages = index.manifest.encoder_names, calibration.cascade.stages
    if note := other_encoders(index.manifest, config):
        yield f"{note} Run `lmm-classifier build` with this configuration, then calibrate."
    if len(names) == 1:
        if config.retrieval.cascade:
            yield "retrieval.cascade has no effect, because the index has one encoder"
        return
    for number, stage in enumerate(stages):
        weights = ", ".join(
            f"{names[place]} {weight:.2f}" for place, weight in zip(stage.encoders, stage.fusion.weights)
        )
        asked = f"stage {number + 1} of {len(stages)}: " if len(stages) > 1 else "fusion: "
        more = (
            f"; the next one is asked at a confidence of at most {stage.ask_up_to:.4f}"
            if stage is not stages[-1]
            else ""
        )
        yield f"{asked}{f'weights {weights}' if len(stage.encoders) > 1 else names[stage.encoders[0]]}{more}"
    for place in calibration.useless:
        yield (
            f"{names[place]} does not improve the fusion, so it is not asked. Remove it from the configuration and "
            "build again to save its time."
        )


def other_encoders(manifest: Manifest, config: PipelineConfig) -> str:
    """Say that a calibration is not of the configured encoders; empty where it is, or where only one is configured."""
    names = manifest.encoder_names
    if len(config.encoders) == 1 or likely_places(manifest, config.encoders) == tuple(range(len(names))):
        return ""
    return (
        f"This calibration is of the encoders of the index, {', '.join(names)}. The configuration has others, or "
        "another order, so `classify` will not use it."
    )


def compare_ladders(
    indexes: Sequence[Index], predictions: HeldOutPredictions, request: CalibrationRequest, equal: bool
) -> tuple[Ladder, ...]:
    """Measure what other orders of asking the encoders would give."""
    manifest, milliseconds = indexes[0].manifest, indexes[0].contents.milliseconds
    return measure_ladders(
        fusion_fit(indexes[0].label_counts, predictions, equal),
        manifest.encoder_names,
        [milliseconds.get(space) for space in manifest.space_ids],
        request.target_precision or DEFAULT_TARGET,
        1 - (request.confidence_level or DEFAULT_CONFIDENCE_LEVEL),
    )


def fused_tradeoff(
    indexes: Sequence[Index], calibration: Calibration, progress: ProgressCallback | None = None
) -> OpenSetTradeoff | None:
    """Estimate the price of accepting known images; None where a transform was fitted to all of them."""
    stage = calibration.cascade.stages[-1]
    asked = [indexes[place] for place in stage.encoders]
    if not all(isinstance(index.transform, IdentityTransform) for index in asked):
        return None
    metrics = [calibration.fits[place].rule.metric for place in stage.encoders]
    galleries = [index.gallery for index in asked]
    return estimate_open_set_tradeoff(metrics, galleries, stage.fusion.weights, _KEEP_KNOWN_RATES, progress)


def repeated_objects_warning(each: Sequence[RepeatedObjects]) -> str:
    """Say, by what was measured for each encoder, why leave-one-out is too optimistic; empty where it is not."""
    highest = max((repeated.highest for repeated in each if repeated.likely), default=0.0)
    if not highest:
        return ""
    equal = " Until their groups are known, all encoders have equal weights." if len(each) > 1 else ""
    return (
        "The dataset seems to hold several images of the same objects, so held-out examples are easier than new images "
        f"(distances to images of the same label grow {highest:.1f} times as fast near an example as farther out; "
        f"between independent images they do not grow faster).{equal}"
    )
