"""A calibration is stored as plain arrays, and completed for examples that were added later."""

from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.loading import Loaded, load_calibration
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.calibration.simulated_unknowns import OpenSetTradeoff
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from tests.helpers.vector_indexes import write_clusters


@pytest.fixture
def index(tmp_path):
    return Index.open(write_clusters(tmp_path / "index.npz"))


def test_the_stored_arrays_have_documented_names_and_no_objects(index):
    """The names are a format: an index of this version is read by later ones."""
    calibration, _ = fit_by_leave_one_out(RetrievalConfig(), [index])
    arrays = calibration.to_arrays(index.contents)
    assert {name.partition(".")[0] for name in arrays} == {
        "encoder", "cascade", "held_out", "conformity_scores", "confidence_threshold", "warning", "request", "tradeoff",
        "examples", "label_ids", "labels", "vectors", "rule", "date", "reranker_date", "ladders",
    }  # fmt: skip
    of_encoders = {name.removeprefix("encoder.0.").partition(".")[0] for name in arrays if name.startswith("encoder.")}
    assert of_encoders == {"metric", "temperatures", "shrinkages", "losses", "familiarity"}
    assert all(array.dtype != object for array in arrays.values())


@pytest.mark.parametrize(("confidence", "keep"), [(None, None), (0.75, 0.9)])
def test_a_stored_calibration_is_read_back_unchanged(index, tmp_path, confidence, keep):
    """Thresholds, date, conformity scores and familiarity survive; a threshold that was not asked for stays None."""
    fitted, _ = fit_by_leave_one_out(RetrievalConfig(), [index])
    request = None if keep is None else CalibrationRequest(0.95, keep_known=keep, group_by="(é)").completed()
    reason = "images of one object" if keep else ""
    tradeoff = OpenSetTradeoff(0.9, {0.95: 0.5, 0.8: 0.25}) if keep else None
    stored = replace(
        fitted,
        confidence_threshold=confidence,
        warning=reason,
        request=request,
        tradeoff=tradeoff,
        date="2026-02-03",
    )
    path = tmp_path / "stored.npz"
    write_index(path, replace(index.contents, calibration=stored.to_arrays(index.contents)))
    loaded = load_calibration(Index.open(path).contents, fitted.fits[0].rule.spec)
    assert isinstance(loaded, Loaded)
    read = loaded.calibration
    assert (read.confidence_threshold, read.keep_known, read.date) == (confidence, keep, "2026-02-03")
    assert (read.request, read.not_certified, read.tradeoff) == (request, reason, tradeoff)
    assert read.rule == fitted.rule
    assert read.cascade.to_json() == fitted.cascade.to_json()
    assert read.fits[0].rule.temperatures == fitted.fits[0].rule.temperatures
    assert read.fits[0].rule.losses == fitted.fits[0].rule.losses
    np.testing.assert_array_equal(read.conformity_scores, fitted.conformity_scores)
    for name, array in fitted.held_out.to_arrays().items():
        np.testing.assert_array_equal(getattr(read.held_out, name), array)
    np.testing.assert_array_equal(read.familiarity, np.sort(fitted.held_out.familiarity))
    np.testing.assert_array_equal(read.fits[0].familiarity.knn_distance, fitted.fits[0].familiarity.knn_distance)
