"""The gate: accuracy per pair of labels with shrinkage, expected gains, and the threshold on them."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, logit

from lmm_classifier.rerank.gating import GainCalibration, PairwiseAccuracy, gain_threshold


def test_rates_are_shrunk():
    """One wrong comparison hardly lowers the rate of a pair, many do; an unseen label has the overall rate."""
    many = [("a", "b", 1.0)] * 90 + [("c", "d", 0.0)] * 40
    accuracy = PairwiseAccuracy.fit([*many, ("a", "z", 0.0)])
    assert accuracy.rate("a", "b") > 0.95
    assert accuracy.rate("a", "z") > 0.6
    assert accuracy.rate("c", "d") < 0.1
    assert accuracy.rate("new", "newer") == accuracy.overall == pytest.approx((90 + 1) / (131 + 2))
    assert PairwiseAccuracy.fit([]).overall == 0.5


def test_rates_are_those_by_hand():
    """The overall rate starts at one of two, a label's at 8 times the overall rate, a pair's at 4 times its label's."""
    comparisons = [("a", "b", 1.0), ("a", "b", 0.5), ("a", "c", 0.0), ("b", "a", 1.0), ("b", "c", 1.0)]
    fitted = PairwiseAccuracy.fit(comparisons)
    overall = (Fraction(7, 2) + 1) / (5 + 2)
    a, b = (Fraction(3, 2) + 8 * overall) / (3 + 8), (2 + 8 * overall) / (2 + 8)
    pairs = {
        ("a", "b"): (Fraction(3, 2) + 4 * a) / (2 + 4),
        ("a", "c"): (0 + 4 * a) / (1 + 4),
        ("b", "a"): (1 + 4 * b) / (1 + 4),
        ("b", "c"): (1 + 4 * b) / (1 + 4),
    }
    assert fitted.overall == pytest.approx(float(overall))
    assert fitted.of_label == pytest.approx({"a": float(a), "b": float(b)})
    assert fitted.of_pair == pytest.approx({pair: float(rate) for pair, rate in pairs.items()})
    assert fitted.rate("a", "z") == fitted.of_label["a"]
    assert fitted.rate("b", "a") == fitted.of_pair["b", "a"]


def test_expected_gain_is_that_of_all_cases():
    """Each rival's call is played out: right or wrong label, preferred or not; a rival that loses adds nothing."""
    rng = np.random.default_rng(0)
    labels = "abcd"
    for _ in range(50):
        rates = {(true, false): float(rng.random()) for true in labels for false in labels if true != false}
        accuracy = PairwiseAccuracy(0.5, {}, rates)
        probabilities = np.sort(rng.dirichlet(np.ones(4)))[::-1]
        expected = 0.0
        for rival, probability in zip("bcd", probabilities[1:]):
            corrected = probability * rates[rival, "a"]
            spoiled = probabilities[0] - probabilities[0] * rates["a", rival]
            expected += corrected - spoiled if corrected > spoiled else 0
        assert accuracy.expected_gain(labels, probabilities) == pytest.approx(expected)


def test_expected_gain_is_corrections_minus_new_errors():
    """By hand: a rival of 0.4 and a best label of 0.5, each recognized nine times in ten."""
    accurate = PairwiseAccuracy(0.9, {}, {})
    assert accurate.expected_gain(("a", "b"), np.array([0.5, 0.4])) == pytest.approx(0.4 * 0.9 - 0.5 * 0.1)
    assert accurate.expected_gain(("a", "b"), np.array([0.95, 0.05])) == 0
    guessing = PairwiseAccuracy(0.5, {}, {})
    assert guessing.expected_gain(("a", "b"), np.array([0.6, 0.4])) == 0
    # a reranker that always answers b gains nothing on the pair
    constant = PairwiseAccuracy(0.5, {}, {("b", "a"): 1.0, ("a", "b"): 0.0})
    assert constant.expected_gain(("a", "b"), np.array([0.6, 0.4])) == 0
    assert accurate.expected_gain(("a",), np.array([0.6])) == 0


@given(st.floats(0, 1), st.lists(st.floats(0.001, 1), min_size=2, max_size=5))
def test_the_gain_is_bounded_by_the_uncertainty(rate, probabilities):
    """It is never negative, and never more than the uncertainty of retrieval."""
    values = np.sort(np.array(probabilities) / sum(probabilities))[::-1]
    gain = PairwiseAccuracy(rate, {}, {}).expected_gain([str(i) for i in range(len(values))], values)
    assert 0 <= gain <= 1 - values[0] + 1e-9


def test_the_gate_takes_the_most_valuable_calls():
    """It takes as many as capture the target fraction of the gain, at most as many as allowed."""
    gains = np.array([0.5, 0.3, 0.1, 0.05, 0.05, 0, 0, 0, 0, 0])
    assert gain_threshold(gains, 0.8) == 0.3
    assert gain_threshold(gains, 0.95) == pytest.approx(0.05)
    assert gain_threshold(gains, 1.0, max_calls=0.1) == 0.5
    assert gain_threshold(gains, 1.0, max_calls=0.01) == float("inf")
    assert gain_threshold(np.zeros(5), 0.9) == float("inf")
    assert gain_threshold(gains, 1.0) > 0


def test_the_threshold_is_that_of_counting_calls():
    """Calls are added one by one, from the largest gain, until the fraction of all corrections is reached."""
    rng = np.random.default_rng(3)
    for number in range(200):
        gains = rng.choice([0.0, 0.05, 0.1, 0.2, 0.4], int(rng.integers(1, 12)))
        if not gains.any():
            continue
        calibration = GainCalibration(float(rng.normal()), float(rng.uniform(0.3, 2)))
        target, most = rng.choice([0.3, 0.5, 0.9, 1.0]), rng.choice([0.0, 0.2, 0.5, 1.0])
        descending = sorted(gains, reverse=True)
        corrections = [
            expit(calibration.intercept + calibration.slope * logit(gain)) if gain else 0 for gain in descending
        ]
        calls = next(n for n in range(1, 13) if sum(corrections[:n]) >= target * sum(corrections) * (1 - 1e-9))
        limited = min(calls, int(most * len(gains))) if number % 2 else calls
        expected = descending[limited - 1] if limited else float("inf")
        found = gain_threshold(gains, target, float(most) if number % 2 else None, calibration)
        assert found == expected > 0


def test_a_limit_above_all_images_is_none():
    """With more calls allowed than images the least gain that still counts is the threshold, and 0 never is."""
    gains = np.array([0.0, 0.3])
    assert gain_threshold(gains, 1.0, max_calls=5.0) == 0.3
    assert gain_threshold(gains, 0.0) == 0.3


def test_the_scaling_of_gains_is_platts():
    """A logistic function of the logit; 0 stays 0, and certainty stays finite."""
    gains = np.array([0.0, 1e-12, 0.2, 0.5, 1.0])
    found = GainCalibration(0.7, 1.3)(gains)
    inside = np.clip(gains, 1e-9, 1 - 1e-9)
    np.testing.assert_allclose(found, [0, *expit(0.7 + 1.3 * logit(inside[1:]))], rtol=1e-9)
    np.testing.assert_allclose(GainCalibration()(np.array([0.25, 0.5])), [0.25, 0.5])


@pytest.mark.parametrize("seed", range(6))
def test_the_scaling_has_the_least_loss(seed):
    """Scipy's minimum of the log-loss with the prior: 1 for the intercept around 0, 4 for the slope around 1."""
    rng = np.random.default_rng(seed)
    gains = np.concatenate([rng.uniform(0.001, 0.6, int(rng.integers(3, 60))), np.zeros(5)])
    corrected = rng.random(len(gains)) < gains ** rng.choice([0.3, 1, 2])
    corrected[-5:] = True  # images without an expected gain take no part

    def loss(weights):
        scores = weights[0] + weights[1] * logit(gains[:-5])
        log_loss = np.logaddexp(0, scores).sum() - scores[corrected[:-5]].sum()
        return log_loss + 0.5 * (weights[0] ** 2 + 4 * (weights[1] - 1) ** 2)

    best = minimize(loss, [0, 1], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13})
    fitted = GainCalibration.fit(gains, corrected)
    assert (fitted.intercept, fitted.slope) == pytest.approx(tuple(best.x), abs=1e-6)


def test_a_higher_gain_is_never_less_likely():
    """Where the small gains were corrected and the large ones not, the slope stops at 0.1."""
    gains = np.repeat([0.01, 0.9], 100)
    fitted = GainCalibration.fit(gains, gains < 0.5)
    assert fitted.slope == 0.1
    assert (np.diff(fitted(np.linspace(0.01, 0.99, 9))) > 0).all()


def test_outcomes_recalibrate_the_expected_gains():
    """Gains that were too high are reduced; without trials they stay."""
    rng = np.random.default_rng(0)
    gains = rng.uniform(0.001, 0.5, 2000)
    calibrated = GainCalibration.fit(gains, rng.random(2000) < gains)
    np.testing.assert_allclose(calibrated(gains), gains, atol=0.04)
    too_high = GainCalibration.fit(gains, rng.random(2000) < gains**2)
    np.testing.assert_allclose(too_high(gains), gains**2, atol=0.04)
    assert gain_threshold(gains, 0.9, calibration=too_high) > gain_threshold(gains, 0.9, calibration=calibrated)
    none = GainCalibration.fit(np.zeros(3), np.zeros(3, bool))
    np.testing.assert_allclose(none(np.array([0.0, 0.2])), [0, 0.2])


def test_arrays_rebuild_the_accuracy():
    """The rebuilt accuracy equals the fitted one; a rate that is not a probability is refused."""
    fitted = PairwiseAccuracy.fit([("ä", "b", 1.0), ("b", "ä", 0.5)])
    assert PairwiseAccuracy.from_arrays(fitted.to_arrays()) == fitted
    assert PairwiseAccuracy.from_arrays(PairwiseAccuracy.fit([]).to_arrays()) == PairwiseAccuracy.fit([])
    for rate in (1.5, -0.5, np.nan):
        for name in ("overall", "label_rates", "pair_rates"):
            arrays = fitted.to_arrays()
            arrays[name] = np.array([rate, *arrays[name][1:]])
            with pytest.raises(ValueError, match="not a probability"):
                PairwiseAccuracy.from_arrays(arrays)
    certain = PairwiseAccuracy(1.0, {"a": 0.0}, {("a", "b"): 1.0})
    assert PairwiseAccuracy.from_arrays(certain.to_arrays()) == certain
    for name in ("label_rates", "pair_rates"):
        with pytest.raises(ValueError, match="zip"):
            PairwiseAccuracy.from_arrays({**fitted.to_arrays(), name: np.array([0.5])})


def test_labels_may_be_renamed():
    """Rates move to the current names, and labels that kept theirs keep their rates."""
    renamed = PairwiseAccuracy(0.5, {"a": 0.6, "b": 0.7}, {("a", "b"): 0.8}).renamed({"a": "c"})
    assert renamed == PairwiseAccuracy(0.5, {"c": 0.6, "b": 0.7}, {("c", "b"): 0.8})
