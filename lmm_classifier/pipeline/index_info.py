"""Describes an index: encoder, labels, calibration, and every threshold with its source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.fusion.cascade import NEVER
from lmm_classifier.calibration.fusion.encoder_fit import EncoderFit
from lmm_classifier.calibration.loading import Loaded, Missing, Stale, load_calibration, stored_request
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.index_location import IndexLocation, index_location
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.index.backends.store_index import StoreIndex
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.formats import read_index, stored_bytes
from lmm_classifier.index.matching import likely_places
from lmm_classifier.index.opening import open_searched, uses_store
from lmm_classifier.index.settings.remembered import config_of_index
from lmm_classifier.index.staleness import stale_parts
from lmm_classifier.neighbors.voting import make_rule
from lmm_classifier.pipeline.calibrating.store_calibration import state_of_stores
from lmm_classifier.pipeline.hierarchy.opening import open_hierarchy
from lmm_classifier.pipeline.hierarchy.roll_up import coarse_thresholds
from lmm_classifier.pipeline.thresholds import Thresholds
from lmm_classifier.rerank.summary import figures

_OTHER_ENCODERS = Stale(
    "The configuration names an encoder of which this index has no vectors.",
    "Use the configuration that the index was built with, or run `lmm-classifier build` with this one.",
)


def describe_index(index_path: Path | str, config: PipelineConfig | None = None) -> dict[str, Any]:
    """Describe an index without loading its vectors.

    Args:
        index_path: a durable index (folder), an `.npz` file, or a table.
        config: names the rule, and may set thresholds that come before the stored ones. None: what the index
            remembers.

    Returns:
        Plain values, ready for JSON. `thresholds` holds value and source of each threshold that a
        classifier with `config` uses; the value is None where it is fitted when the index is opened.

    Example:
        >>> from lmm_classifier import describe_index
        >>> described = describe_index("index")
        >>> described["images"], described["calibration"]["state"]
        (32, 'loaded')
    """
    path, config = index_location(index_path), config or config_of_index(index_path)
    contents, labels, state = _read(path, config)
    manifest = contents.manifest
    return {
        "path": str(path),
        "encoders": _describe_encoders(contents),
        "images": manifest.count,
        "labels": labels,
        "stored_dtype": np.dtype(contents.dtype).name,
        "bytes": stored_bytes(path),
        "dataset": str(DatasetSpec.from_stored(manifest.image_root)),
        "created": manifest.created,
        "program": manifest.program,
        "version": contents.version or None,
        "settings": dict(manifest.settings),
        "stale": [] if uses_store(config.retrieval, path) else list(stale_parts(contents)),
        "calibration": _describe_calibration(state, contents),
        "thresholds": _thresholds(state, config, contents).to_dict(),
    }


def _read(
    path: IndexLocation, config: PipelineConfig
) -> tuple[IndexContents, dict[str, int], Loaded | Stale | Missing]:
    """Read the contents of an index, the number of images of each label, and the state of its calibration."""
    load: Callable[[Sequence[int] | None], Loaded | Stale | Missing]
    indexes = open_searched(config.retrieval, path) if uses_store(config.retrieval, path) else ()
    if stored := [index for index in indexes if isinstance(index, StoreIndex)]:
        contents, counts = stored[0].contents, dict(zip(stored[0].label_names, stored[0].label_counts.tolist()))
        load = partial(state_of_stores, stored, config.retrieval)
    else:
        contents = read_index(path)
        names, label_ids = np.unique(np.array(contents.labels), return_inverse=True)
        counts = dict(sorted(Counter(contents.labels).items()))
        load = partial(load_calibration, contents, make_rule(config.retrieval, label_ids, len(names)))
    state = load(None)
    if not isinstance(state, Missing) and config.names_encoders:
        places = likely_places(contents.manifest, config.encoders)
        state = _OTHER_ENCODERS if places is None else load(places)
    return contents, counts, state


def _describe_calibration(state: Loaded | Stale | Missing, contents: IndexContents) -> dict[str, Any]:
    match state:
        case Missing():
            return {"state": "missing"}
        case Stale(reason, remedy):
            asked = {"date": _date(contents), "request": _request(contents)}
            return {"state": "stale", "reason": reason, "remedy": remedy, **asked}
        case Loaded(calibration, note):
            return {"state": "loaded", "note": note, **_describe_loaded(calibration, contents)}


def _date(contents: IndexContents) -> str:
    """Return the day on which the calibration was stored, empty where it is not known."""
    dates = np.asarray((contents.calibration or {}).get("date", []))
    return str(dates[0]) if len(dates) else ""


def _request(contents: IndexContents) -> dict[str, Any] | None:
    request = stored_request(contents)
    return request.to_dict() if request else None


def _describe_loaded(calibration: Calibration, contents: IndexContents) -> dict[str, Any]:
    benefit = calibration.reranker_benefit
    return {
        "date": calibration.date,
        "request": _request(contents),
        "not_certified": calibration.not_certified,
        "rule": calibration.rule,
        "encoders": [
            {"name": name, **_describe_fit(fit)}
            for name, fit in zip(contents.manifest.encoder_names, calibration.fits, strict=True)
        ],
        "stages": [
            {
                "encoders": [contents.manifest.encoder_names[place] for place in stage.encoders],
                "weights": [round(float(weight), 4) for weight in stage.fusion.weights],
                "ask_up_to": None if stage.ask_up_to == NEVER else round(stage.ask_up_to, 6),
            }
            for stage in calibration.cascade.stages
        ],
        "reranking": {"date": calibration.reranker_date, **figures(benefit)} if benefit else None,
    }


def _describe_encoders(contents: IndexContents) -> list[dict[str, Any]]:
    """Describe each encoder. Every image of the index has a vector of each."""
    manifest = contents.manifest
    return [
        {
            "name": name,
            "encoder": str(entry.fingerprint),
            "transform": entry.transform,
            "dim": entry.fingerprint.dim,
            "vectors": manifest.count,
            "milliseconds": _rounded(contents.milliseconds.get(entry.fingerprint.space_id)),
        }
        for name, entry in zip(manifest.encoder_names, manifest.encoders, strict=True)
    ]


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 2)


def _describe_fit(fit: EncoderFit) -> dict[str, Any]:
    rule = fit.rule
    root = "signed square root" if rule.metric.power_normalize else "plain"
    return {
        "metric": f"{root}, shrinkage {rule.metric.shrinkage:g}",
        "log_loss_by_shrinkage": {f"{shrinkage:g}": round(loss, 4) for shrinkage, loss in rule.losses.items()},
        "temperatures": [round(value, 5) for value in (*rule.temperatures, rule.temperature)],
        "zero_shot_text_weight": rule.text.weight if rule.text else None,
    }


def _thresholds(state: Loaded | Stale | Missing, config: PipelineConfig, contents: IndexContents) -> Thresholds:
    """Return the thresholds of a classifier with these settings; a choice of labels has the rule fitted again."""
    stored = state.calibration if isinstance(state, Loaded) else None
    in_use = None if config.labels else stored
    thresholds = Thresholds.resolve(config.retrieval, in_use, stored, stored_request(contents))
    hierarchy = open_hierarchy(config, contents, stored.renamed if stored else None)
    if hierarchy is None:
        return thresholds
    return thresholds.with_coarse(coarse_thresholds(stored, hierarchy.of_labels(contents.labels)), stored)
