"""Proposals are groups of new images; they depend on the set of images alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.core.errors import VectorError
from lmm_classifier.discovery.proposals.propose import FEWEST, KNOWN, REMAINDER, KnownLabels, propose
from tests.discovery.proposals.made import CUT, DIM, HELD_OUT, around, folder, known


def test_groups_are_the_new_labels():
    """Of two that are as unfamiliar the larger one first; familiar images are of their known label."""
    embeddings, familiarity, names, axes = folder({0: 20, 1: 10, 5: 8, 7: 12})
    found = propose(embeddings, familiarity, names, known())
    assert found.about == 2
    assert set(found.members(0).tolist()) == set(np.flatnonzero(axes == 7).tolist())
    assert set(found.members(1).tolist()) == set(np.flatnonzero(axes == 5).tolist())
    assert (found.groups[axes < 3] == KNOWN).all()
    np.testing.assert_array_equal(found.label_ids[axes < 3], axes[axes < 3])
    assert axes[found.seeds].tolist() == [7, 5]


def test_a_group_also_takes_new_images_that_look_familiar():
    """It does not start from the unfamiliar ones alone: that half of a new label is taken which the index calls known.

    Those that are more familiar than most examples are not taken.
    """
    embeddings, familiarity, names, axes = folder({0: 20, 5: 20})
    familiarity[axes == 5] = np.concatenate([np.full(10, -3.0), np.full(8, -1.0), np.full(2, 1.5)])
    found = propose(embeddings, familiarity, names, known())
    assert len(found.members(0)) == 18
    assert (found.groups[-2:] == KNOWN).all()


def test_a_new_label_comes_before_the_rare_images_of_a_known_one():
    """Of very many known images some are unfamiliar by chance; they are more, and yet they are less new."""
    embeddings, familiarity, names, axes = folder({0: 600, 5: 10})
    familiarity[axes == 0] = np.linspace(-2, 2, 600)
    found = propose(embeddings, familiarity, names, known())
    assert axes[found.members(0)].tolist() == [5] * 10
    assert (axes[found.members(1)] == 0).all()
    assert len(found.members(1)) > 10


def test_a_look_of_a_known_label_names_it():
    """The nearest label of a group, with the cosine of the centers."""
    embeddings, familiarity, names, _ = folder({0: 10})
    look = np.float32(0.6) * around(1, 9, 3) + np.float32(0.8) * around(9, 9, 3)
    look /= np.linalg.norm(look, axis=1, keepdims=True)
    found = propose(
        np.concatenate([embeddings, look]),
        np.concatenate([familiarity, np.full(9, -3.0)]),
        [*names, *(f"look{row}" for row in range(9))],
        known(),
    )
    assert found.group_labels.tolist() == [1]
    assert found.similarities[0] == pytest.approx(0.6, abs=0.1)


def test_few_images_are_no_proposal():
    """One less than `FEWEST` is nothing that is counted; with a given number it is the remainder."""
    embeddings, familiarity, names, axes = folder({0: 10, 5: FEWEST - 1})
    found = propose(embeddings, familiarity, names, known())
    assert found.about == 0
    assert len(found.centers) == 0
    asked = propose(embeddings, familiarity, names, known(), groups=1)
    assert (asked.groups[axes == 5] == REMAINDER).all()
    enough = folder({0: 10, 5: FEWEST})
    assert len(propose(*enough[:3], known()).members(0)) == FEWEST


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(0, 3), st.integers(0, 12), st.integers(0, 12))
def test_the_order_of_the_images_changes_nothing(seed, some, first, second):
    """To the last bit, for any folder."""
    embeddings, familiarity, names, _ = folder({0: some, 5: first, 7: second}, seed)
    found = propose(embeddings, familiarity, names, known())
    shuffled = np.random.default_rng(seed).permutation(len(names))
    again = propose(embeddings[shuffled], familiarity[shuffled], [names[row] for row in shuffled], known())
    np.testing.assert_array_equal(again.groups, found.groups[shuffled])
    np.testing.assert_array_equal(again.label_ids, found.label_ids[shuffled])
    np.testing.assert_array_equal(again.centers, found.centers)
    assert [names[shuffled[row]] for row in again.seeds] == [names[row] for row in found.seeds]
    numbers, sizes = np.unique(found.groups[found.groups >= 0], return_counts=True)
    assert numbers.tolist() == list(range(len(found.centers)))
    assert (sizes >= FEWEST).all()
    assert (np.diff(sizes) <= 0).all()  # they are equally unfamiliar, so more images are more evidence


@pytest.mark.parametrize("count", [0, 1, 2])
def test_hardly_any_image(count):
    """No group, and no error."""
    found = propose(around(5, count, 0), np.full(count, -3.0), [f"{row}" for row in range(count)], known())
    assert (len(found.groups), len(found.centers), found.about) == (count, 0, 0)


def test_equal_images():
    """Copies of one new image are one group; copies of a familiar one are no group."""
    for axis, familiarity, expected in ((5, -3.0, [30]), (0, 0.0, [])):
        embeddings = np.repeat(around(axis, 1, 0), 30, axis=0)
        found = propose(embeddings, np.full(30, familiarity), [f"{row:02}" for row in range(30)], known())
        assert [len(found.members(group)) for group in range(len(found.centers))] == expected


def test_one_known_label_and_none():
    """Both are possible: an index of one label, and an empty one."""
    embeddings, familiarity, names, axes = folder({0: 8, 5: 9})
    found = propose(embeddings, familiarity, names, known(labels=1))
    assert found.members(0).tolist() == np.flatnonzero(axes == 5).tolist()
    empty = KnownLabels(np.empty((0, DIM)), CUT, HELD_OUT)
    alone = propose(embeddings, familiarity, names, empty, groups=2)
    assert alone.label_ids.tolist() == [-1] * 17
    assert alone.group_labels.tolist() == [-1] * len(alone.centers)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(wrong):
    """In the vectors and in the familiarity."""
    embeddings, familiarity, names, _ = folder({0: 3, 5: 6})
    for array in (embeddings, familiarity):
        broken = array.copy()
        broken[2] = wrong
        arrays = (broken, familiarity) if array is embeddings else (embeddings, broken)
        with pytest.raises(VectorError, match="NaN or infinity"):
            propose(*arrays, names, known())
