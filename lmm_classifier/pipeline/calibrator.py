"""Calibrates an index: fits the rule, turns guarantees into thresholds, and stores both with the index."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.calibration_report import CalibrationReport
from lmm_classifier.calibration.fit import Fit, fit_by_leave_one_out
from lmm_classifier.calibration.guarantees.outlook import older_guarantee
from lmm_classifier.calibration.guarantees.threshold_setting import set_thresholds, today
from lmm_classifier.calibration.hierarchy.hierarchy_fit import HierarchyFit, is_of_hierarchy
from lmm_classifier.calibration.hierarchy.level_guarantees import (
    LevelGuarantees,
    required_guarantees,
    with_guarantees,
)
from lmm_classifier.calibration.loading import Loaded
from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.calibration.repeated_objects import RepeatedObjects
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.index_location import IndexLocation, index_location
from lmm_classifier.core.label_hierarchy import LabelHierarchy
from lmm_classifier.core.progress import ProgressCallback, ProgressOption
from lmm_classifier.core.progress_display import displayed
from lmm_classifier.index.backends.store_index import StoreIndex
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.formats import is_durable, write_calibration
from lmm_classifier.index.opening import open_searched
from lmm_classifier.index.settings.remembered import config_of_index
from lmm_classifier.index.staleness import stale_parts
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.calibrating.former_calibration import FormerCalibration, RerankerMeasurement
from lmm_classifier.pipeline.calibrating.held_out import fit_by_request
from lmm_classifier.pipeline.calibrating.store_calibration import calibrate_store
from lmm_classifier.pipeline.fusion_report import (
    compare_ladders,
    fused_tradeoff,
    fusion_notes,
    repeated_objects_warning,
)
from lmm_classifier.pipeline.hierarchy.opening import open_hierarchy
from lmm_classifier.pipeline.index_encoder import encode_label_names
from lmm_classifier.pipeline.rerank_calibrator import measure_on_predictions

logger: logging.Logger = logging.getLogger(__name__)


def calibrate_index(
    index_path: Path | str,
    config: PipelineConfig | None = None,
    request: CalibrationRequest | None = None,
    progress: ProgressOption | None = None,
    *,
    reset: bool = False,
) -> CalibrationReport:
    """Calibrate an index and store the calibration in it, with the request.

    What the request does not mention stays as the former calibration had it. A request for thresholds alone
    (`target_precision`, `confidence_level`, `keep_known`) takes the held-out results of the former calibration, where
    these are of the same examples and the same rule: nothing is fitted again. A transform that was fitted to former
    images is fitted again first, and stays so whatever happens then.

    Args:
        index_path: a durable index (folder), an `.npz` file, or a table.
        config: names the rule, and the encoder where images must be encoded; None: as in `config_of_index`.
        request: what is asked for; None repeats what was asked for before.
        progress: True shows it; a function is called between two batches, and may raise `Cancelled` to stop. No
            calibration is stored then.
        reset: forget what former calibrations were asked for, and what they measured of the reranker.

    Raises:
        CalibrationError: if the index is too small for what is asked, or the request contradicts itself. No
            calibration is stored then.

    Example:
        >>> from lmm_classifier import CalibrationRequest, PipelineConfig, calibrate_index
        >>> report = calibrate_index("index", PipelineConfig.offline(), CalibrationRequest(keep_known=0.9))
        >>> calibrate_index("index", PipelineConfig.offline()).calibration.keep_known
        0.9
    """
    path, config = index_location(index_path), config or config_of_index(index_path)
    asked = request or CalibrationRequest()
    asked.check()
    refitted = is_durable(path) and IndexEditor(path, config).refit()
    indexes = open_searched(config.retrieval, path)
    index, stored = indexes[0], [each for each in indexes if isinstance(each, StoreIndex)]
    if stored:
        return calibrate_store(stored, path, config, asked, progress, reset=reset)
    _check_size(index, path)
    former = FormerCalibration() if reset else FormerCalibration.of(index, config)
    coarse = open_hierarchy(config, index.contents)
    if asked.is_for_thresholds_only and _is_current(former.state, index, coarse):
        return _thresholds_alone(path, config, former, asked)
    request, reranking = former.merged(asked), former.reranking
    texts = encode_label_names(indexes, config, path)
    with displayed(progress) as show:
        sparse = coarse is None and request.max_calls is None  # these need the probabilities of all labels
        (fitted, predictions), held_out = fit_by_request(indexes, config, path, request, texts, show, sparse=sparse)
        hierarchy = HierarchyFit.of(coarse, predictions, index.label_names)
        levels = required_guarantees(fitted.held_out, hierarchy, request)
        tradeoff = fused_tradeoff(indexes, fitted, show)
        if request.max_calls is not None:
            reranking = _measured(indexes, path, config, (fitted, predictions), request, show)
    warning = _warning(indexes, request) or held_out.warning
    calibration = replace(
        fitted,
        ladders=compare_ladders(indexes, predictions, request, equal=bool(warning)),
        hierarchy=hierarchy,
        warning=warning,
        tradeoff=tradeoff,
        request=replace(request, max_calls=reranking.max_calls),
        reranker_benefit=reranking.benefit,
        reranker_date=reranking.date,
        date=today(),
    )
    calibration = with_guarantees(calibration, levels)
    write_calibration(path, index.contents, calibration.to_arrays(index.contents))
    of_fit = [*_fitted_again(refitted, fitted, texts), *fusion_notes(index, fitted, config)]
    notes = (*held_out.notes, *of_fit, *former.notes(request, asked))
    return _report(calibration, predictions, held_out.method, notes, levels)


def _report(
    calibration: Calibration,
    predictions: HeldOutPredictions | None,
    method: str,
    notes: tuple[str, ...],
    levels: LevelGuarantees | None,
) -> CalibrationReport:
    older = older_guarantee(calibration.held_out, calibration.request or CalibrationRequest())
    return CalibrationReport(calibration, predictions, method, notes, levels, older)


def _is_current(state: object, index: Index, hierarchy: LabelHierarchy | None) -> bool:
    """Return whether a calibration is of these examples and of this hierarchy, or of none where there is none."""
    if not isinstance(state, Loaded) or stale_parts(index.contents):
        return False
    return is_of_hierarchy(state.calibration.hierarchy, hierarchy, index.label_names)


def _thresholds_alone(
    path: IndexLocation, config: PipelineConfig, former: FormerCalibration, asked: CalibrationRequest
) -> CalibrationReport:
    """Set the thresholds from the held-out results of the former calibration."""
    before = former.request
    calibration = set_thresholds(path, config.retrieval, asked)
    request = calibration.request or asked
    notes = list(former.notes(request, asked))
    if calibration.ladders and before is not None and before.target_precision != request.target_precision:
        notes.append(
            "the comparison of encoders is still for the former target precision; a plain calibration renews it"
        )
    levels, older = (
        required_guarantees(calibration.held_out, calibration.hierarchy, request),
        older_guarantee(calibration.held_out, request),
    )
    method = "held out by the former calibration, so that nothing is fitted again"
    return CalibrationReport(calibration, None, method, tuple(notes), levels, older)


def _fitted_again(refitted: bool, calibration: Calibration, texts: Sequence[Float32Array | None]) -> Iterator[str]:
    """Say what became of the transform and of the label names."""
    if refitted:
        yield "transform: fitted again, because the images changed"
    for fit, names in zip(calibration.fits, texts, strict=True):
        text = fit.rule.text
        if names is not None:
            yield f"zero-shot text: weight {text.weight:g}" if text else "zero-shot text: does not help, not used"


def _warning(indexes: Sequence[Index], request: CalibrationRequest) -> str:
    """Say why leave-one-out is too optimistic here, where nothing in the request prevents it."""
    if request.holdout is not None or request.group_by is not None or request.target_images is not None:
        return ""
    return repeated_objects_warning([RepeatedObjects.of_index(index) for index in indexes])


def _measured(
    indexes: Sequence[Index],
    path: IndexLocation,
    config: PipelineConfig,
    fit: Fit,
    request: CalibrationRequest,
    progress: ProgressCallback | None,
) -> RerankerMeasurement:
    """Measure the reranker on held-out examples; a holdout leaves none, so leave-one-out gives them."""
    if request.holdout is not None:
        fit = fit_by_leave_one_out(config.retrieval, indexes)
    benefit = measure_on_predictions(indexes, path, config, fit, request.max_calls or 0, progress)
    return RerankerMeasurement(benefit, today(), request.max_calls)


def _check_size(index: Index, path: IndexLocation) -> None:
    labels = index.gallery.labels
    if labels < 2 or len(index) <= labels:
        raise CalibrationError(
            f"{path} holds {len(index)} images of {labels} label{'' if labels == 1 else 's'}. Leave-one-out needs two "
            "labels, and more than one image of some. Add images and build the index again."
        )
