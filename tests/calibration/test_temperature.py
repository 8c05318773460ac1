"""The fitted temperature has the least log-loss in any units, and never gives certainty."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as reference

from lmm_classifier.calibration.temperature import fit_temperature, log_loss
from lmm_classifier.core.numerics import log_softmax


def draw(temperature, count=4000, labels=5, seed=0):
    """Return scores whose softmax at `temperature` is the true distribution, and labels drawn from it."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(count, labels)) * temperature * 2
    probabilities = np.exp(log_softmax(scores / temperature))
    return scores, np.array([rng.choice(labels, p=row) for row in probabilities])


@pytest.mark.parametrize("temperature", [0.01, 1.0, 300.0])
def test_the_true_temperature_is_found(temperature):
    """In any units of the scores."""
    assert fit_temperature(*draw(temperature)) == pytest.approx(temperature, rel=0.08)


def test_log_loss_is_cross_entropy():
    """It equals scikit-learn's, except for the smoothing of order 1 / n."""
    scores, label_ids = draw(1.0)
    assert log_loss(scores, label_ids, 1.3) == pytest.approx(
        reference(label_ids, np.exp(log_softmax(scores / 1.3))), abs=2e-3
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_no_temperature_does_better(seed, scale):
    """Temperatures on both sides of the fitted one have no smaller loss."""
    rng = np.random.default_rng(seed)
    scores, label_ids = rng.normal(size=(30, 4)) * scale, rng.integers(0, 4, 30)
    best = fit_temperature(scores, label_ids)
    least = log_loss(scores, label_ids, best)
    for factor in (0.5, 0.9, 1.1, 2):  # where uniform scores are best, the search stops short of infinity
        assert least <= log_loss(scores, label_ids, best * factor) + 1e-3


def test_examples_without_an_error_do_not_give_certainty():
    """With ten of ten correct, the probability of the best label stays below 1 by about 1 / n."""
    scores = np.eye(2)[np.arange(10) % 2]
    temperature = fit_temperature(scores, np.arange(10) % 2)
    largest = float(np.exp(log_softmax(scores / temperature)).max())
    assert largest == pytest.approx(11 / 12, abs=1e-3)


def test_labels_without_a_score_are_left_aside():
    """-inf has probability 0; a row whose true label has no score does not count; without rows nothing is fitted."""
    scores = np.array([[0.0, -np.inf, 1.0], [-np.inf, 0.5, 0.2]])
    np.testing.assert_allclose(np.exp(log_softmax(scores)).sum(axis=1), 1)
    assert np.exp(log_softmax(scores))[0, 1] == 0
    assert np.isneginf(log_softmax(np.full((1, 3), -np.inf))).all()
    of_second_row = log_loss(scores[1:], np.array([1]), 1.0)
    assert log_loss(scores, np.array([1, 1]), 1.0) == of_second_row
    assert fit_temperature(scores, np.array([1, 0])) == 1.0
    assert np.isnan(log_loss(scores, np.array([1, 0]), 1.0))
    assert fit_temperature(np.zeros((3, 2)), np.array([0, 1, 0])) == 1.0
