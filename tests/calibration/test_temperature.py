"""The fitted temperature has the least log-loss in any units, and never gives certainty."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.metrics import log_loss as reference

from lmm_classifier.calibration.temperature import fit_temperature, log_loss, log_losses
from lmm_classifier.core.numerics import log_softmax


def draw(temperature, count=4000, labels=5, seed=0):
    """Return scores whose softmax at `temperature` is the true distribution, and labels drawn from it."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(count, labels)) * temperature * 2
    probabilities = np.exp(log_softmax(scores / temperature))
    drawn = rng.random((count, 1)) > probabilities.cumsum(axis=1)
    return scores, np.minimum(drawn.sum(axis=1), labels - 1)


def losses_by_hand(scores, label_ids, temperature):
    """Return the smoothed cross-entropies, summed label by label."""
    rows = [(row, true) for row, true in zip(scores, label_ids) if np.isfinite(row[true])]
    losses = []
    for row, true in rows:
        logs = {label: score / temperature for label, score in enumerate(row) if np.isfinite(score)}
        total = np.logaddexp.reduce(list(logs.values()))
        logs = {label: max(log - total, -1000) for label, log in logs.items()}
        others = [log for label, log in logs.items() if label != true]
        smoothing = 1 / (len(rows) + 2)
        losses.append(-(1 - smoothing) * logs[true] - smoothing * (np.mean(others) if others else 0))
    return losses


def incomplete(seed=3, count=40, labels=4):
    """Return scores of which some are missing, also of true labels, and one row has but one score."""
    rng = np.random.default_rng(seed)
    scores, label_ids = rng.normal(size=(count, labels)), rng.integers(0, labels, count)
    scores[np.arange(count), label_ids] += 1
    scores[rng.random((count, labels)) < 0.2] = -np.inf
    scores[0], label_ids[0] = [-np.inf, 0.3, -np.inf, -np.inf], 1
    return scores, label_ids


@pytest.mark.parametrize("temperature", [0.0005, 0.3, 1.0, 7.0])
def test_losses_equal_those_by_hand(temperature):
    """The targets are smoothed by 1 / (n + 2), labels without a score take no part, and -1000 is the floor."""
    scores, label_ids = incomplete()
    losses = log_losses(scores, label_ids, temperature)
    assert len(losses) < len(scores)
    np.testing.assert_allclose(losses, losses_by_hand(scores, label_ids, temperature), rtol=1e-12)
    assert log_loss(scores, label_ids, temperature) == pytest.approx(np.mean(losses))


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


@settings(max_examples=10, deadline=None)
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


@pytest.mark.parametrize("scale", [0.02, 1.0, 50.0])
def test_the_temperature_is_that_of_least_loss(scale):
    """The minimum that scipy finds, to four digits."""
    for scores, label_ids in (incomplete(), draw(1.0, count=200)):
        found = minimize_scalar(
            lambda log, x=scores * scale, y=label_ids: np.mean(losses_by_hand(x, y, np.exp(log))),
            bounds=(np.log(scale) - 3, np.log(scale) + 3),
            method="bounded",
            options={"xatol": 1e-9},
        )
        assert np.log(fit_temperature(scores * scale, label_ids)) == pytest.approx(found.x, abs=1e-4)


def test_one_score_far_below_the_others_does_not_hide_the_minimum():
    """It makes the spread 600 times as large as the temperature, which is still found."""
    scores, label_ids = draw(1.0, count=2000, labels=3)
    scores[0, (label_ids[0] + 1) % 3] = -50_000
    assert 600 < scores.std() < 1000
    found = minimize_scalar(lambda log: log_loss(scores, label_ids, np.exp(log)), bounds=(-1, 1), method="bounded")
    assert np.log(fit_temperature(scores, label_ids)) == pytest.approx(found.x, abs=2e-4)


def test_the_search_ends_at_seven_logarithms_above_the_spread():
    """Where even odds are best, the temperature is e^7 times the spread of the scores."""
    wrong = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert np.log(fit_temperature(wrong, np.array([1, 0]))) == pytest.approx(np.log(0.5) + 7, abs=1e-3)


@pytest.mark.parametrize("count", [1, 5, 200])
def test_without_an_error_the_other_label_keeps_the_smoothing(count):
    """Of n examples that are all correct, the best temperature gives the other label 1 / (n + 2)."""
    scores = np.tile([1.0, 0.0], (count, 1))
    temperature = fit_temperature(scores, np.zeros(count, np.int64))
    assert np.log(temperature) == pytest.approx(-np.log(np.log(count + 1)), abs=2e-4)


def test_one_usable_row_is_enough():
    """It alone decides, whichever it is."""
    scores = np.array([[-np.inf, 1.0, 0.0], [2.0, 1.0, 0.0]])
    of_one = fit_temperature(scores, np.array([0, 1]))
    assert of_one == pytest.approx(np.std([1, 0, 2, 1, 0]) * np.exp(7), rel=1e-3)


@pytest.mark.parametrize("held", [1, 9, 64])
def test_losses_do_not_depend_on_the_size_of_blocks(monkeypatch, held):
    """They are computed row by row, so every bit is the same."""
    scores, label_ids = incomplete()
    whole, fitted = log_losses(scores, label_ids, 0.3), fit_temperature(scores, label_ids)
    monkeypatch.setattr("lmm_classifier.calibration.temperature._HELD", held)
    assert (log_losses(scores, label_ids, 0.3) == whole).all()
    assert fit_temperature(scores, label_ids) == fitted
