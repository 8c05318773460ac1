"""A fraction has its counts and an interval around it; of nothing there is none."""

import numpy as np

from lmm_classifier.evaluation.fractions import fraction, groups_of


def test_a_fraction_lies_in_its_interval():
    """And the interval in 0 to 1."""
    for successes in range(6):
        figure = fraction(np.arange(5) < successes)
        low, high = figure["interval"]
        assert 0 <= low <= figure["fraction"] <= high <= 1
        assert (figure["count"], figure["of"], figure["fraction"]) == (successes, 5, successes / 5)


def test_the_interval_of_groups_is_wider():
    """Ten images of each of four objects, all right or all wrong, say as much as four images."""
    flags, groups = np.repeat([True, True, True, False], 10), np.repeat(np.arange(4), 10)
    alone, grouped = fraction(flags), fraction(flags, groups)
    assert {**grouped, "interval": None} == {**alone, "interval": None}
    (low, high), (low_of_groups, high_of_groups) = alone["interval"], grouped["interval"]
    assert low_of_groups < low
    assert high < high_of_groups


def test_chosen_images_keep_their_groups():
    """None stays None: then each image is alone."""
    assert groups_of(np.array([4, 5, 6]), np.array([True, False, True])).tolist() == [4, 6]
    assert groups_of(None, np.ones(3, bool)) is None


def test_nothing_has_no_fraction():
    """None, and the widest interval."""
    figure = fraction(np.empty(0, bool))
    assert (figure["fraction"], figure["count"], figure["of"]) == (None, 0, 0)
