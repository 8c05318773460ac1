"""Temperatures: the least log-loss, found whatever the units, and never infinite sureness."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as reference

from lmm_classifier.calibration.temperature import fit_temperature, log_loss
from lmm_classifier.core.numerics import log_shares


def drawn(temperature, count=4000, labels=5, seed=0):
    """Scores whose softmax at `temperature` is the truth, and labels drawn from it."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(count, labels)) * temperature * 2
    chances = np.exp(log_shares(scores / temperature))
    return scores, np.array([rng.choice(labels, p=chance) for chance in chances])


@pytest.mark.parametrize("temperature", [0.01, 1.0, 300.0])
def test_the_true_temperature_is_found(temperature):
    """Whatever the units of the scores."""
    assert fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.08)


def test_log_loss_is_cross_entropy():
    """But for the smoothing, of order 1 / n, it is scikit-learn's."""
    scores, own = drawn(1.0)
    assert log_loss(scores, own, 1.3) == pytest.approx(reference(own, np.exp(log_shares(scores / 1.3))), abs=2e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_no_temperature_does_better(seed, scale):
    """The minimum is one: neighbours on both sides are no better."""
    rng = np.random.default_rng(seed)
    scores, own = rng.normal(size=(30, 4)) * scale, rng.integers(0, 4, 30)
    best = fit_temperature(scores, own)
    least = log_loss(scores, own, best)
    for factor in (0.5, 0.9, 1.1, 2):
        assert (
            least <= log_loss(scores, own, best * factor) + 1e-3
        )  # where no opinion is best it stops short of infinity


def test_faultless_examples_do_not_make_it_infinitely_sure():
    """Ten of ten right is no proof: the probability of the best label stays below 1 by about 1 / n."""
    scores = np.eye(2)[np.arange(10) % 2]
    temperature = fit_temperature(scores, np.arange(10) % 2)
    surest = float(np.exp(log_shares(scores / temperature)).max())
    assert surest == pytest.approx(11 / 12, abs=1e-3)


def test_labels_without_a_score_are_left_aside():
    """-inf has no share; a row whose own label has none does not count; with none left nothing is fitted."""
    scores = np.array([[0.0, -np.inf, 1.0], [-np.inf, 0.5, 0.2]])
    np.testing.assert_allclose(np.exp(log_shares(scores)).sum(axis=1), 1)
    assert np.exp(log_shares(scores))[0, 1] == 0
    assert np.isneginf(log_shares(np.full((1, 3), -np.inf))).all()
    alone = log_loss(scores[1:], np.array([1]), 1.0)
    assert log_loss(scores, np.array([1, 1]), 1.0) == alone
    assert fit_temperature(scores, np.array([1, 0])) == 1.0
    assert np.isnan(log_loss(scores, np.array([1, 0]), 1.0))
    assert fit_temperature(np.zeros((3, 2)), np.array([0, 1, 0])) == 1.0
