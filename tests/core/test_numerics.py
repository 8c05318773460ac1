"""Softmax, its logarithm and connected components equal those of scipy, also without a score."""

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components as reference
from scipy.special import log_softmax as scipy_log_softmax
from scipy.special import softmax as scipy_softmax

from lmm_classifier.core.numerics import connected_components, log_softmax, softmax


@pytest.mark.parametrize("temperature", [0.05, 1.0, 30.0])
def test_softmax_is_that_of_scipy(temperature):
    """At any temperature, for one row and for several, far from 0 and with a label without a score."""
    scores = np.random.default_rng(0).normal(size=(4, 3)) * [[1], [10], [1], [1]] + [[0], [0], [900], [-900]]
    scores[1, 2] = -np.inf
    np.testing.assert_allclose(softmax(scores, temperature), scipy_softmax(scores / temperature, axis=1))
    np.testing.assert_allclose(log_softmax(scores), scipy_log_softmax(scores, axis=1))
    np.testing.assert_allclose(softmax(scores[0]), scipy_softmax(scores[0]))


def test_without_any_score_no_label_has_a_probability():
    """All are 0, and their logarithms minus infinity."""
    scores = np.full((2, 3), -np.inf)
    assert (softmax(scores) == 0).all()
    assert np.isneginf(log_softmax(scores)).all()


@pytest.mark.parametrize("seed", range(5))
def test_components_are_those_of_scipy(seed):
    """Each bears the number of its least node."""
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, 30, (18, 2))
    _, expected = reference(coo_array((np.ones(18), pairs.T), (30, 30)), directed=False)
    found = connected_components(30, [(int(a), int(b)) for a, b in pairs])
    np.testing.assert_array_equal(found[:, None] == found, expected[:, None] == expected)
    for number in np.unique(found):
        assert np.flatnonzero(found == number)[0] == number
