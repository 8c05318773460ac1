"""Sets the thresholds of a calibrated index anew, from its held-out results, without fitting anything again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.hierarchy.level_guarantees import required_guarantees, with_guarantees
from lmm_classifier.calibration.loading import Loaded, load_calibration
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.core.errors import StaleCalibrationError
from lmm_classifier.core.index_location import IndexLocation
from lmm_classifier.index.formats import read_index, write_calibration
from lmm_classifier.index.staleness import stale_parts
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.voting import make_rule


def set_thresholds(index_path: IndexLocation, config: RetrievalConfig, asked: CalibrationRequest) -> Calibration:
    """Store the thresholds for a target precision, a confidence level and a fraction of known images to keep.

    They are those that `calibrate_index` would store for this request. Everything else stays: also the comparison of
    the encoders, which was made for the former target precision.

    Args:
        index_path: the index.
        config: the rule in use.
        asked: what is mentioned; the rest stays as the former calibration had it.

    Raises:
        StaleCalibrationError: the index is not calibrated, or was changed or calibrated since.
        CalibrationError: the request is impossible, or cannot be guaranteed. Nothing is stored then.
    """
    asked.check()
    contents = read_index(index_path)
    _, label_ids = np.unique(np.array(contents.labels), return_inverse=True)
    state = load_calibration(contents, make_rule(config, label_ids, len(set(contents.labels))))
    former = contents.calibration
    if not isinstance(state, Loaded) or former is None or stale_parts(contents):
        raise StaleCalibrationError(
            "The thresholds are not set, because the index must be calibrated first. Run `lmm-classifier calibrate`."
        )
    calibration = state.calibration
    measured = calibration.request.max_calls if calibration.request else None
    request = replace(asked.completed(calibration.request), max_calls=measured)
    found = required_guarantees(calibration.held_out, calibration.hierarchy, request)
    changed = with_guarantees(replace(calibration, request=request, date=today()), found)
    values = changed.to_arrays(contents)
    names = ["confidence_threshold", "request", "date"]  # what was fitted stays as it is, byte for byte
    names += ["hierarchy.thresholds"] if calibration.hierarchy else []
    if not write_calibration(index_path, contents, {**former, **{name: values[name] for name in names}}, former):
        raise StaleCalibrationError(
            "The thresholds are not set, because the index was calibrated again meanwhile. Read the new "
            "calibration, then set them again."
        )
    return changed


def today() -> str:
    """Return the day that is stored with a calibration, in ISO 8601."""
    return datetime.now(UTC).date().isoformat()
