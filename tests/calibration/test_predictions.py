"""Scores and predictions of held-out examples: parts are joined in order, and the figures are those by hand."""

import numpy as np

from lmm_classifier.calibration.predictions import HeldOutPredictions, HeldOutScores


def part(rows, value):
    rows = np.array(rows)
    scores = [np.full((len(rows), 2), value), -rows[:, None] * np.ones(2)]
    return HeldOutScores(rows, rows % 2, scores, np.tile(rows[:, None], 5).astype(float))


def test_parts_are_joined_in_order():
    """Rows, labels, scores of each expert, and signals stay together."""
    joined = HeldOutScores.join([part([4, 1], 0.5), part([7], 0.25)])
    np.testing.assert_array_equal(joined.rows, [4, 1, 7])
    np.testing.assert_array_equal(joined.label_ids, [0, 1, 1])
    np.testing.assert_array_equal(joined.scores[0][:, 0], [0.5, 0.5, 0.25])
    np.testing.assert_array_equal(joined.scores[1][:, 1], [-4, -1, -7])
    np.testing.assert_array_equal(joined.signals[:, 4], [4, 1, 7])


def test_figures_of_predictions_counted_by_hand():
    """Confidence is the best probability; an example is correct where that is the one of its true label."""
    probabilities = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1]])
    predictions = HeldOutPredictions(np.array([3, 9]), np.array([0, 2]), np.log(probabilities), [], np.zeros((2, 5)))
    np.testing.assert_allclose(predictions.confidence, [0.7, 0.6])
    np.testing.assert_array_equal(predictions.correct, [True, False])
    np.testing.assert_allclose(predictions.true_label_probabilities, [0.7, 0.1])
