"""The number of wrong labels is estimated from predictions alone, and hard images are not taken for wrong labels."""

import numpy as np
import pytest

from lmm_classifier.core.numerics import log_softmax
from lmm_classifier.evaluation.label_noise import expected_wrong_labels


def predictions(rng, count, labels, wrong, temperature=1.0, hardness=3.0):
    """Calibrated predictions of which some labels are changed at random; higher `hardness` makes easier images."""
    scores = hardness * rng.normal(size=(count, labels))
    probabilities = np.exp(log_softmax(scores))
    label_ids = np.array([rng.choice(labels, p=row) for row in probabilities])
    changed = rng.choice(count, wrong, replace=False)
    label_ids[changed] = (label_ids[changed] + rng.integers(1, labels, wrong)) % labels
    return log_softmax(scores / temperature), label_ids


@pytest.mark.parametrize("temperature", [1.0, 1.5])
@pytest.mark.parametrize("wrong", [0, 20, 80])
def test_the_number_is_found(wrong, temperature):
    """Though the temperature was fitted to wrong labels; the interval holds the number."""
    estimate = expected_wrong_labels(*predictions(np.random.default_rng(1), 1000, 6, wrong, temperature))
    assert estimate.low <= wrong <= estimate.high
    assert estimate.low <= estimate.expected <= estimate.high
    assert abs(estimate.expected - wrong) <= 15 + 0.3 * wrong


def test_hard_images_are_not_taken_for_wrong_labels():
    """Three of five predictions contradict the label, all of them unsure: none need be wrong."""
    scores, label_ids = predictions(np.random.default_rng(1), 1000, 6, 0, hardness=1.0)
    assert (scores.argmax(axis=1) != label_ids).mean() > 0.4
    estimate = expected_wrong_labels(scores, label_ids)
    assert estimate.low == 0
    assert estimate.expected < 40


@pytest.mark.long
def test_most_intervals_hold_the_number():
    """Of 20 draws at least 18."""
    held = 0
    for seed in range(20):
        scores, label_ids = predictions(np.random.default_rng(seed), 800, 5, 40)
        estimate = expected_wrong_labels(scores, label_ids)
        held += estimate.low <= 40 <= estimate.high
    assert held >= 18


def test_two_labels_and_few_examples():
    """Nothing fails where there is little to learn from."""
    scores, label_ids = predictions(np.random.default_rng(0), 6, 2, 0)
    estimate = expected_wrong_labels(scores, label_ids)
    assert 0 <= estimate.low <= estimate.expected <= estimate.high <= 6
