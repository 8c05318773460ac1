"""Calibrates an index whose rows stay in a store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.calibration_report import CalibrationReport
from lmm_classifier.calibration.guarantees.outlook import older_guarantee
from lmm_classifier.calibration.guarantees.threshold_setting import today
from lmm_classifier.calibration.hierarchy.hierarchy_fit import HierarchyFit, is_of_hierarchy
from lmm_classifier.calibration.hierarchy.level_guarantees import required_guarantees, with_guarantees
from lmm_classifier.calibration.loading import OTHER_RULE, Loaded, Missing, Stale, stored_request
from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.calibration.repeated_objects import RepeatedObjects
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.calibration.sparse.store_fit import StoreFitting, fit_through_stores
from lmm_classifier.calibration.sparse.store_loading import (
    load_store_calibration,
    store_calibration_arrays,
    stores_version,
)
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.index_location import IndexLocation
from lmm_classifier.core.progress import ProgressOption
from lmm_classifier.core.progress_display import displayed
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.index.backends.store_index import StoreIndex
from lmm_classifier.index.formats import write_calibration
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gathering.reading import ReadingLimits
from lmm_classifier.neighbors.gathering.store_rule import make_store_rule
from lmm_classifier.pipeline.fusion_report import compare_ladders, fusion_notes, repeated_objects_warning
from lmm_classifier.pipeline.hierarchy.opening import open_hierarchy
from lmm_classifier.pipeline.index_encoder import encode_label_names

_NEED_ALL_ROWS = ("holdout", "group_by", "target_images", "max_calls")


def calibrate_store(
    indexes: Sequence[StoreIndex],
    location: IndexLocation,
    config: PipelineConfig,
    asked: CalibrationRequest,
    progress: ProgressOption | None,
    *,
    reset: bool,
) -> CalibrationReport:
    """Fit the rule through the stores of all encoders, turn guarantees into thresholds, and store both with the index.

    Raises:
        CalibrationError: the index is too small for what is asked, or the request needs all rows in memory.
        ConfigError: a store cannot answer the rule.
    """
    index = indexes[0]
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
    state, coarse = state_of_stores(indexes, config.retrieval), open_hierarchy(config, index.contents)
    is_current = isinstance(state, Loaded) and is_of_hierarchy(state.calibration.hierarchy, coarse, index.label_names)
    if asked.is_for_thresholds_only and isinstance(state, Loaded) and is_current and not reset:
        kept = replace(state.calibration, request=request)
        method = "held out by the former calibration, so that nothing is fitted again"
        return _stored(indexes, location, kept, None, method, _notes(state, config, index, kept))
    stores, texts = [each.store for each in indexes], encode_label_names(indexes, config, location)
    with displayed(progress) as show:
        how = StoreFitting(sparse=coarse is None, store_norms=True)
        fitted, predictions = fit_through_stores(config.retrieval, stores, how, texts, show)
    warning = repeated_objects_warning([RepeatedObjects.of_store(store) for store in stores])
    calibration = replace(
        fitted,
        request=request,
        hierarchy=HierarchyFit.of(coarse, predictions, index.label_names),
        ladders=compare_ladders(indexes, predictions, request, equal=bool(warning)),
        warning=warning,
    )
    method = "held out one by one, through the search that answers"
    return _stored(indexes, location, calibration, predictions, method, _notes(state, config, index, calibration))


def state_of_stores(
    indexes: Sequence[StoreIndex], config: RetrievalConfig, encoders: Sequence[int] | None = None
) -> Loaded | Stale | Missing:
    """Return the stored calibration of the stores, whether it fits the rows that are there now, or why not.

    `encoders` are the places of the configured encoders; None: all of the index.
    """
    index = indexes[0]
    spec = make_store_rule(config, len(index.label_names), ReadingLimits())
    version = stores_version([each.store for each in indexes])
    return load_store_calibration(index.contents, version, spec, encoders)


def _stored(
    indexes: Sequence[StoreIndex],
    location: IndexLocation,
    fitted: Calibration,
    predictions: HeldOutPredictions | None,
    method: str,
    notes: Iterable[str],
) -> CalibrationReport:
    request = fitted.request or CalibrationRequest().completed()
    levels = required_guarantees(fitted.held_out, fitted.hierarchy, request)
    calibration, contents = with_guarantees(replace(fitted, date=today()), levels), indexes[0].contents
    version = stores_version([index.store for index in indexes])
    write_calibration(location, contents, store_calibration_arrays(calibration, contents, version))
    older = older_guarantee(calibration.held_out, request)
    return CalibrationReport(calibration, predictions, method, tuple(notes), levels, older)


def _notes(
    state: Loaded | Stale | Missing, config: PipelineConfig, index: StoreIndex, calibration: Calibration
) -> Iterator[str]:
    yield "the examples stay in the store: how many unknown images are accepted is not estimated"
    yield from fusion_notes(index, calibration, config)
    dataset = DatasetSpec.from_stored(index.manifest.image_root)
    if dataset.label_from == "path" and config.hierarchy is None and not index.contents.paths:
        yield (
            "the folders above the labels give no coarse labels, because the paths of all examples are not in memory. "
            "Write them to a file and name it as `hierarchy`"
        )
    if isinstance(state, Stale) and state.remedy == OTHER_RULE:
        yield f"the former calibration is replaced. {state.reason}"
