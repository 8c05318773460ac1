"""The gate: whom asking helps is learnt per pair of labels, with little evidence shrunk."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.rerank.gating import Reliability, RescueChance, least_gain


def test_rates_are_shrunk():
    """One lost comparison does not condemn a pair; many do; a label that was never asked about has the overall rate."""
    many = [("a", "b", 1.0)] * 90 + [("c", "d", 0.0)] * 40
    found = Reliability.fit([*many, ("a", "z", 0.0)])
    assert found.rate("a", "b") > 0.95
    assert found.rate("a", "z") > 0.6
    assert found.rate("c", "d") < 0.1
    assert found.rate("new", "newer") == found.overall == pytest.approx((90 + 1) / (131 + 2))
    assert Reliability.fit([]).overall == 0.5


def test_expected_gain_is_rescues_less_breaks():
    """By hand: a rival of .4 that is found nine times in ten, against a best of .5 that is kept nine times in ten."""
    sure = Reliability(0.9, {}, {})
    assert sure.expected_gain(("a", "b"), np.array([0.5, 0.4])) == pytest.approx(0.4 * 0.9 - 0.5 * 0.1)
    assert sure.expected_gain(("a", "b"), np.array([0.95, 0.05])) == 0
    coin = Reliability(0.5, {}, {})
    assert coin.expected_gain(("a", "b"), np.array([0.6, 0.4])) == 0
    # one that always says b, whatever it is shown, gains nothing on the pair
    parrot = Reliability(0.5, {}, {("b", "a"): 1.0, ("a", "b"): 0.0})
    assert parrot.expected_gain(("a", "b"), np.array([0.6, 0.4])) == 0
    assert sure.expected_gain(("a",), np.array([0.6])) == 0


@given(st.floats(0, 1), st.lists(st.floats(0.001, 1), min_size=2, max_size=5))
def test_the_gain_is_what_can_be_gained(rate, shares):
    """Never negative, never more than retrieval's doubt."""
    values = np.sort(np.array(shares) / sum(shares))[::-1]
    gain = Reliability(rate, {}, {}).expected_gain([str(i) for i in range(len(values))], values)
    assert 0 <= gain <= 1 - values[0] + 1e-9


def test_the_gate_takes_the_dearest_calls():
    """As many as bring the wished share of the gain, at most as many as allowed."""
    gains = np.array([0.5, 0.3, 0.1, 0.05, 0.05, 0, 0, 0, 0, 0])
    assert least_gain(gains, 0.8) == 0.3
    assert least_gain(gains, 0.95) == pytest.approx(0.05)
    assert least_gain(gains, 1.0, most_calls=0.1) == 0.5
    assert least_gain(gains, 1.0, most_calls=0.01) == float("inf")
    assert least_gain(np.zeros(5), 0.9) == float("inf")
    assert least_gain(gains, 1.0) > 0


def test_rescues_recalibrate_what_was_expected():
    """Where expected gains were too high the chance falls; with nothing to go by they are believed."""
    rng = np.random.default_rng(0)
    gains = rng.uniform(0.001, 0.5, 2000)
    honest = RescueChance.fit(gains, rng.random(2000) < gains)
    np.testing.assert_allclose(honest(gains), gains, atol=0.04)
    sharp = RescueChance.fit(gains, rng.random(2000) < gains**2)
    np.testing.assert_allclose(sharp(gains), gains**2, atol=0.04)
    assert least_gain(gains, 0.9, chance=sharp) > least_gain(gains, 0.9, chance=honest)
    none = RescueChance.fit(np.zeros(3), np.zeros(3, bool))
    np.testing.assert_allclose(none(np.array([0.0, 0.2])), [0, 0.2])


def test_state():
    """What is stored is what was fitted, and nonsense is refused."""
    found = Reliability.fit([("ä", "b", 1.0), ("b", "ä", 0.5)])
    assert Reliability.restore(found.state()) == found
    assert Reliability.restore(Reliability.fit([]).state()) == Reliability.fit([])
    with pytest.raises(ValueError, match="no probability"):
        Reliability.restore({**found.state(), "overall": np.array([1.5])})
