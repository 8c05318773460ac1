"""Held-out results are rebuilt bit by bit; impossible ones are refused in `tests/calibration/test_loading.py`."""

import numpy as np
import pytest

from lmm_classifier.calibration.guarantees.held_out_results import HeldOutResults


def test_the_same_again():
    """The order of the examples stays, because the three arrays belong together."""
    results = HeldOutResults(np.array([0.9, 0.2]), np.array([True, False]), np.array([1.5, -3.0]))
    again = HeldOutResults.from_arrays(results.to_arrays())
    for name, array in results.to_arrays().items():
        np.testing.assert_array_equal(getattr(again, name), array)
    assert (len(again), again.accuracy) == (2, 0.5)


def test_groups_are_kept():
    """They are those of the examples that were held out, in the same order."""
    results = HeldOutResults(np.array([0.9, 0.2]), np.array([True, False]), np.zeros(2), np.array([7, 7]))
    assert HeldOutResults.from_arrays(results.to_arrays()).groups.tolist() == [7, 7]
    for wrong in (np.zeros(3, int), np.zeros(2)):
        with pytest.raises(ValueError, match="expected a group number of each held-out example"):
            HeldOutResults.from_arrays({**results.to_arrays(), "groups": wrong})


def test_no_examples():
    """An accuracy of nothing is 0, not an error."""
    nothing = HeldOutResults(np.empty(0), np.empty(0, bool), np.empty(0))
    assert (len(nothing), nothing.accuracy) == (0, 0.0)
