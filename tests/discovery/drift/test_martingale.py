"""The martingale is a fair gamble: it is never negative, gains nothing on average, and finds a change."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.discovery.drift.martingale import ALARM, Martingale

P = st.floats(1e-12, 1, exclude_min=True)


def wealth_after(values):
    martingale = Martingale()
    for p in values:
        martingale = martingale.bet(float(p))
    return martingale


@settings(max_examples=60, deadline=None)
@given(st.lists(P, max_size=60))
def test_it_is_the_wealth_of_the_definition(values):
    """The logarithms give what plain products give, and every part of the wealth is positive."""
    slopes, powers = np.array([-1, -0.5, 0, 0.5, 1]), np.array([0.3, 0.5, 0.7, 0.9])
    jumper, by_power = np.full(5, 0.2), np.ones(4)
    for p in values:
        jumper = (0.99 * jumper + 0.01 * jumper.sum() / 5) * (1 + slopes * (p - 0.5))
        by_power = by_power * powers * p ** (powers - 1)
    martingale = wealth_after(values)
    assert math.isclose(martingale.log, math.log((jumper.sum() + by_power.mean()) / 2), abs_tol=1e-9, rel_tol=1e-9)
    assert np.isfinite(martingale.log)
    assert min(martingale.parts) > 0
    assert math.isclose(sum(martingale.parts), 1)


@settings(max_examples=20, deadline=None)
@given(st.lists(P, max_size=20))
def test_a_bet_is_fair(values):
    """Over all values of the next p the wealth is on average what it was: the integral of each bet is 1."""
    martingale = wealth_after(values)
    # p = t^10 makes the integral of p^-0.7 smooth
    nodes, weights = np.polynomial.legendre.leggauss(60)
    t = (nodes + 1) / 2
    factors = [math.exp(martingale.bet(float(x**10)).log - martingale.log) for x in t]
    assert math.isclose(float(np.sum(weights / 2 * 10 * t**9 * factors)), 1, rel_tol=1e-6)


def test_it_never_overflows():
    """A change without end gives an evidence that is no float any more, as a finite logarithm."""
    martingale = wealth_after([1e-9] * 500)
    assert martingale.log > 800
    assert martingale.is_alarm
    assert wealth_after([1.0] * 5000).log > math.log(ALARM)  # too familiar is a change too


def test_the_alarm_includes_its_threshold():
    """100 itself is an alarm."""
    high = math.log(100)
    assert Martingale(high, powers=(high,) * 4).is_alarm
    assert not Martingale(high - 1e-9, powers=(high - 1e-9,) * 4).is_alarm


@pytest.mark.parametrize("p", [0, -0.1, 1.1, math.nan, math.inf])
def test_what_is_no_p_value_is_refused(p):
    """A zero would be a wealth without limit."""
    with pytest.raises(ValueError, match="p-value"):
        Martingale().bet(p)
