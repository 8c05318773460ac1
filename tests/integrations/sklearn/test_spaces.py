"""Rows of numbers become vectors whose cosines order them by direction or by distance."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.integrations.sklearn.spaces import CosineSpace, EuclideanSpace


@given(st.integers(0, 2**32), st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
def test_distances_are_those_of_the_values(seed, size, shift):
    """Of any size and place, to the bits of float32."""
    values = size * (np.random.default_rng(seed).normal(size=(9, 4)) + shift)
    space = EuclideanSpace.of(values)
    rows = space.rows(values)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    direct = np.sqrt(np.square(values[:, None] - values).sum(axis=2))
    np.testing.assert_allclose(space.distances(rows, np.stack([rows] * 9)), direct, atol=1e-4 * size)


def test_cosines_order_rows_as_distances_do():
    """For the nearest ones, which decide."""
    values = np.random.default_rng(0).normal(size=(300, 5))
    rows = EuclideanSpace.of(values).rows(values)
    by_cosine = np.argsort(-(rows @ rows.T), axis=1)[:, 1]
    distances = np.sqrt(np.square(values[:, None] - values).sum(axis=2))
    np.fill_diagonal(distances, np.inf)
    found = distances[np.arange(300), by_cosine]
    assert (by_cosine == distances.argmin(axis=1)).mean() > 0.9
    assert (found / distances.min(axis=1)).max() < 1.2


def test_equal_rows_have_no_scale():
    """They are one point, and no error."""
    space = EuclideanSpace.of(np.full((4, 2), 7.0))
    assert space.scale == 1.0
    assert (space.rows(np.full((1, 2), 7.0)) == [[0, 0, 1]]).all()


def test_a_zero_row_stays_zero():
    """Its cosine with every row is 0."""
    rows = CosineSpace().rows(np.array([[0.0, 0.0], [3.0, 4.0]]))
    np.testing.assert_array_equal(rows, np.array([[0, 0], [0.6, 0.8]], np.float32))
    assert CosineSpace().distances(rows[:1], rows[None, :]).tolist() == [[1.0, 1.0]]
