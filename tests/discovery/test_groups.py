"""Groups of similar images, and the similarity at which they are cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.discovery.groups import DEFAULT_CUT, adjusted_rand_index, find_groups, learned_cut


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clusters(seed, sizes, noise=0.08, dim=24):
    """Return rows around a center for each size, and the number of the center of each row."""
    rng = np.random.default_rng(seed)
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    return unit(
        unit(rng.normal(size=(len(sizes), dim)))[numbers] + noise * rng.normal(size=(len(numbers), dim))
    ), numbers


def names(count):
    return [f"{number:04}" for number in range(count)]


def test_clear_groups_are_found_and_numbered_by_size():
    """The largest is 0."""
    embeddings, numbers = clusters(0, [3, 8, 5])
    groups = find_groups(embeddings, names(16), 0.5)
    assert adjusted_rand_index(groups, numbers) == 1
    assert [int(groups[numbers == number][0]) for number in (1, 2, 0)] == [0, 1, 2]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 20))
def test_a_permutation_changes_nothing(seed, count, most):
    """Not where some images only join the groups of others, either."""
    embeddings = unit(np.random.default_rng(seed).normal(size=(count, 5)))
    groups = find_groups(embeddings, names(count), 0.3, most)
    shuffled = np.random.default_rng(seed + 1).permutation(count)
    again = find_groups(embeddings[shuffled], [names(count)[row] for row in shuffled], 0.3, most)
    assert groups[shuffled].tolist() == again.tolist()
    assert sorted(set(groups.tolist())) == list(range(groups.max() + 1))


def test_many_images_join_the_groups_of_a_sample():
    """Each joins the group that it resembles, or is alone."""
    embeddings, numbers = clusters(1, [40, 40, 40])
    unknown = unit(np.random.default_rng(5).normal(size=(1, 24)))
    order = np.random.default_rng(0).permutation(120)
    groups = find_groups(np.concatenate([embeddings[order], unknown]), names(121), 0.5, most=30)
    assert adjusted_rand_index(groups[:120], numbers[order]) == 1
    assert (groups == groups[120]).sum() == 1


def test_no_images():
    """No group."""
    assert find_groups(np.empty((0, 4), np.float32), [], 0.3).tolist() == []


def test_the_cut_is_learned_from_the_labels():
    """Loose labels get a lower cut than tight ones, and both separate new labels of their kind."""
    cuts = []
    for noise in (0.08, 0.25):
        embeddings, numbers = clusters(2, [12] * 8, noise)
        cuts.append(learned_cut([embeddings], numbers, 8))
    assert cuts[1] < cuts[0]


def test_few_labels_teach_no_cut():
    """Then the default is taken."""
    embeddings, numbers = clusters(3, [9, 9, 9, 2])
    assert learned_cut([embeddings], numbers, 4) == DEFAULT_CUT


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0, 0, 1, 1], [5, 5, 2, 2], 1),
        ([0, 0, 1, 1], [0, 1, 0, 1], -0.5),
        ([0, 1, 2], [0, 1, 2], 1),
        ([0, 0, 0], [0, 0, 0], 1),
        ([0, 0, 1, 2], [0, 0, 1, 1], 0.5714),
    ],
)
def test_adjusted_rand_index(first, second, expected):
    """The same as scikit-learn's; equal partitions agree whatever they are."""
    assert adjusted_rand_index(np.array(first), np.array(second)) == pytest.approx(expected, abs=1e-4)
