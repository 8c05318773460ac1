"""Calibrates an index whose rows stay in a store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.calibration_report import CalibrationReport
from lmm_classifier.calibration.guarantees.outlook import older_guarantee
from lmm_classifier.calibration.guarantees.threshold_setting import today
from lmm_classifier.calibration.hierarchy.level_guarantees import required_guarantees, with_guarantees
from lmm_classifier.calibration.loading import OTHER_RULE, Loaded, Missing, Stale, stored_request
from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.calibration.sparse.store_fit import fit_through_store
from lmm_classifier.calibration.sparse.store_loading import load_store_calibration, store_calibration_arrays
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.index_location import IndexLocation
from lmm_classifier.core.progress import ProgressOption
from lmm_classifier.core.progress_display import displayed
from lmm_classifier.index.backends.store_index import StoreIndex
from lmm_classifier.index.formats import write_calibration
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gathering.reading import ReadingLimits
from lmm_classifier.neighbors.gathering.store_rule import make_store_rule
from lmm_classifier.pipeline.hierarchy.opening import open_hierarchy
from lmm_classifier.pipeline.index_encoder import encode_label_names

_NEED_ALL_ROWS = ("holdout", "group_by", "target_images", "max_calls")


def calibrate_store(
    index: StoreIndex,
    location: IndexLocation,
    config: PipelineConfig,
    asked: CalibrationRequest,
    progress: ProgressOption | None,
    *,
    reset: bool,
) -> CalibrationReport:
    """Fit the rule through the store, turn guarantees into thresholds, and store both with the index.

    Raises:
        CalibrationError: the index is too small for what is asked, or the request needs all rows in memory.
        ConfigError: a store cannot answer the rule.
    """
    labels = len(index.label_names)
    if labels < 2 or len(index) <= labels:
        raise CalibrationError(
            f"{location} holds {len(index)} images of {labels} labels. Leave-one-out needs two labels, and more than "
            "one image of some."
        )
    former = None if reset else stored_request(index.contents)
    request = asked.completed(former)
    if wanted := [name for name in _NEED_ALL_ROWS if getattr(request, name) is not None]:
        raise CalibrationError(
            f"{', '.join(wanted)} need all examples in memory, but retrieval.search: store leaves them in the store. "
            "Leave them out, forget what was asked for before (reset), or set retrieval.search: exact."
        )
    state = state_of_store(index, config.retrieval)
    if asked.is_for_thresholds_only and isinstance(state, Loaded) and not reset:
        fitted, predictions = state.calibration, None
        method = "held out by the former calibration, so that nothing is fitted again"
    else:
        texts = encode_label_names([index], config, location)[0]
        with displayed(progress) as show:
            fitted, found = fit_through_store(
                config.retrieval, index.store, texts=texts, progress=show, store_norms=True
            )
        predictions, method = found, "held out one by one, through the search that answers"
    return _stored(index, location, replace(fitted, request=request), predictions, method, config, state)


def state_of_store(index: StoreIndex, config: RetrievalConfig) -> Loaded | Stale | Missing:
    """Return the stored calibration of a store, whether it fits the rows that are there now, or why not."""
    spec = make_store_rule(config, len(index.label_names), ReadingLimits())
    return load_store_calibration(index.contents, index.store.version, spec)


def _stored(
    index: StoreIndex,
    location: IndexLocation,
    fitted: Calibration,
    predictions: HeldOutPredictions | None,
    method: str,
    config: PipelineConfig,
    state: Loaded | Stale | Missing,
) -> CalibrationReport:
    request = fitted.request or CalibrationRequest().completed()
    levels = required_guarantees(fitted.held_out, None, request)
    calibration = with_guarantees(replace(fitted, date=today()), levels)
    arrays = store_calibration_arrays(calibration, index.contents, index.store.version)
    write_calibration(location, index.contents, arrays)
    notes = tuple(_notes(index, config, state))
    return CalibrationReport(
        calibration, predictions, method, notes, levels, older_guarantee(calibration.held_out, request)
    )


def _notes(index: StoreIndex, config: PipelineConfig, state: Loaded | Stale | Missing) -> Iterator[str]:
    yield (
        "the examples stay in the store: whether they are several images of the same objects, and how many unknown "
        "images are accepted, is not estimated"
    )
    if open_hierarchy(config, index.contents) is not None:
        yield "coarse labels have no thresholds, because a store gives no probability of every label"
    if isinstance(state, Stale) and state.remedy == OTHER_RULE:
        yield f"the former calibration is replaced. {state.reason}"
