"""Held-out results of coarse labels: sums of probabilities, compared with what stands above the true label."""

import numpy as np
import pytest

from lmm_classifier.calibration.hierarchy.coarse_results import CoarseResults
from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.core.label_hierarchy import LabelHierarchy

LABELS = ["hat", "shirt", "skirt", "tee"]
HIERARCHY = LabelHierarchy({"shirt": ("tops",), "tee": ("tops",), "skirt": (), "hat": ()})


def predictions(probabilities, truth):
    with np.errstate(divide="ignore"):
        logs = np.log(np.array(probabilities, float))
    count = len(truth)
    return HeldOutPredictions(np.arange(count), np.array(truth), logs, [], np.zeros(count))


def test_the_best_coarse_label_is_compared_with_the_truth():
    """Where a label alone is more likely, the level says nothing."""
    given = predictions([[0.1, 0.4, 0.1, 0.4], [0.1, 0.4, 0.1, 0.4], [0.9, 0.05, 0, 0.05]], [3, 2, 0])
    results = CoarseResults.of(given, HIERARCHY.levels(LABELS))
    assert np.allclose(results.confidence, [[0.8, 0.8, np.nan]], equal_nan=True)
    assert results.correct.tolist() == [[True, False, False]]


def test_results_do_not_depend_on_blocks():
    """Of many examples."""
    rng = np.random.default_rng(0)
    given = predictions(rng.dirichlet(np.ones(4), 3000), rng.integers(4, size=3000))
    results = CoarseResults.of(given, HIERARCHY.levels(LABELS))
    part = predictions(np.exp(given.log_probabilities[2000:2010]), given.label_ids[2000:2010])
    again = CoarseResults.of(part, HIERARCHY.levels(LABELS))
    assert np.allclose(again.confidence, results.confidence[:, 2000:2010], equal_nan=True)
    assert np.array_equal(again.correct, results.correct[:, 2000:2010])


def test_stored_results_are_checked():
    """Other shapes, types and numbers are refused."""
    results = CoarseResults(np.array([[0.5, np.nan]]), np.array([[True, False]]))
    arrays = results.to_arrays()
    assert np.array_equal(CoarseResults.from_arrays(arrays, 1, 2).confidence, results.confidence, equal_nan=True)
    for levels, count, changed in (
        (2, 2, {}),
        (1, 3, {}),
        (1, 2, {"correct": np.array([[1, 0]])}),
        (1, 2, {"confidence": np.array([[1.5, 0.1]])}),
        (1, 2, {"confidence": np.array([[np.inf, 0.1]])}),
    ):
        with pytest.raises(ValueError, match="coarse label"):
            CoarseResults.from_arrays({**arrays, **changed}, levels, count)
