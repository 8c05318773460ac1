"""The gate: accuracy per pair of labels with shrinkage, expected gains, and the threshold on them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    with pytest.raises(ValueError, match="not a probability"):
        PairwiseAccuracy.from_arrays({**fitted.to_arrays(), "overall": np.array([1.5])})
