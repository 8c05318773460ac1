"""A fraction has its counts and an interval around it; of nothing there is none."""

import numpy as np

from lmm_classifier.evaluation.fractions import fraction, fraction_of


def test_a_fraction_lies_in_its_interval():
    """And the interval in 0 to 1."""
    for successes in range(6):
        figure = fraction_of(successes, 5)
        low, high = figure["interval"]
        assert 0 <= low <= figure["fraction"] <= high <= 1
        assert fraction(np.arange(5) < successes) == figure


def test_nothing_has_no_fraction():
    """None, and the widest interval."""
    figure = fraction(np.empty(0, bool))
    assert (figure["fraction"], figure["count"], figure["of"]) == (None, 0, 0)
