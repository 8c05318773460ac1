"""Positions in the plane: groups stay apart, edits move little, and the same rows give the same bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.discovery.layout import first_positions, lay_out, lay_out_again, principal_axes
from lmm_classifier.discovery.nearest_rows import nearest_others


def groups(count, each, noise=0.2):
    """Unit rows of `count` groups, and the group of each."""
    rng = np.random.default_rng(0)
    group = np.arange(count * each) % count
    rows = rng.normal(size=(count, 16))[group] + noise * rng.normal(size=(count * each, 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), group


def laid_out(rows):
    neighbors = nearest_others(rows, 5)
    return neighbors, lay_out(neighbors, first_positions(rows))


def test_the_nearest_points_are_of_the_same_group():
    """More of them than by the two main axes alone."""
    rows, group = groups(24, 10, noise=0.4)

    def share(positions):
        apart = np.linalg.norm(positions[:, None] - positions, axis=2)
        np.fill_diagonal(apart, np.inf)
        return (group[np.argsort(apart, axis=1)[:, :5]] == group[:, None]).mean()

    assert share(laid_out(rows)[1]) > 0.9 > share(first_positions(rows)) + 0.2


def test_the_same_rows_give_the_same_bits():
    """The drawn numbers are always the same."""
    rows, _ = groups(3, 10)
    assert laid_out(rows)[1].tobytes() == laid_out(rows)[1].tobytes()


def test_after_an_edit_points_stay_and_new_ones_lie_with_their_neighbors():
    """A new copy of a point is put close to it."""
    rows, group = groups(4, 30)
    _, former = laid_out(rows)
    more = np.vstack([rows, rows[:2]])
    known = np.vstack([former, np.full((2, 2), np.nan, np.float32)])
    again = lay_out_again(nearest_others(more, 5), more, known, np.arange(len(more)) < len(rows))
    extent = np.ptp(former, axis=0).max()
    assert np.linalg.norm(again[: len(rows)] - former, axis=1).max() < 0.1 * extent
    for copy in (0, 1):
        nearest = np.argsort(np.linalg.norm(again[: len(rows)] - again[len(rows) + copy], axis=1))[:3]
        assert set(group[nearest]) == {group[copy]}


def test_many_new_points_move_all():
    """Most of the points are new: as many rounds are made as for a first layout."""
    rows, _ = groups(4, 10)
    reports = []
    is_placed = np.arange(40) < 10
    lay_out_again(nearest_others(rows, 5), rows, first_positions(rows), is_placed, reports.append)
    assert [report.total for report in reports] == [200] * 200


@pytest.mark.long
@settings(max_examples=20)
@given(st.integers(1, 6), st.integers(1, 4), st.booleans())
def test_few_and_equal_rows(count, dim, are_equal):
    """Positions are finite and within the range of an int16 in thousandths."""
    rows = np.random.default_rng(count).normal(size=(count, dim)).astype(np.float32)
    rows = np.ones_like(rows) if are_equal else rows
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    positions = laid_out(rows)[1]
    assert positions.shape == (count, 2)
    assert np.isfinite(positions).all()
    assert np.abs(positions).max() < 32
    if count > 1:
        assert len(np.unique(positions, axis=0)) == count


def test_axes_have_a_fixed_sign():
    """The largest part of each is positive."""
    rows, _ = groups(4, 10)
    axes = principal_axes(rows, 3)
    assert axes.shape == (16, 3)
    assert (axes[np.abs(axes).argmax(axis=0), range(3)] > 0).all()
    assert axes.T @ axes == pytest.approx(np.eye(3), abs=1e-9)
