"""Predictions for held-out examples can be brought into the order of the index."""

import numpy as np

from lmm_classifier.calibration.predictions import HeldOutPredictions


def test_everything_follows_its_row():
    """Strategies hold the same examples out in other orders."""
    rows, logs = np.array([5, 0, 3]), np.log([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])
    shuffled = HeldOutPredictions(rows, np.array([1, 0, 1]), logs, [2 * logs, 3 * logs], np.array([0.5, 0.0, 0.3]))
    ordered = shuffled.in_order_of_rows()
    assert ordered.rows.tolist() == [0, 3, 5]
    assert ordered.label_ids.tolist() == [0, 1, 1]
    assert ordered.familiarity.tolist() == [0.0, 0.3, 0.5]
    np.testing.assert_array_equal(ordered.log_probabilities, logs[[1, 2, 0]])
    np.testing.assert_array_equal(ordered.expert_log_probabilities, [2 * logs[[1, 2, 0]], 3 * logs[[1, 2, 0]]])
    np.testing.assert_allclose(ordered.confidence, [0.9, 0.8, 0.5])
    assert ordered.correct.tolist() == [True, True, False]
    np.testing.assert_allclose(ordered.true_label_probabilities, [0.9, 0.8, 0.5])
