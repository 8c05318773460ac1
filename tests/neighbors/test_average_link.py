"""Average link: the same tree as always joining the most similar pair of groups."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.neighbors.average_link import average_link


def drawn(seed, count, dim=6):
    rows = np.random.default_rng(seed).normal(size=(count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def partition(groups):
    return {frozenset(np.flatnonzero(groups == number).tolist()) for number in set(groups.tolist())}


def groups_by_best_pair(embeddings, least):
    """Join the best pair again and again, as the definition says."""
    similarities = embeddings.astype(np.float64) @ embeddings.astype(np.float64).T
    groups = [[row] for row in range(len(embeddings))]
    while len(groups) > 1:
        mean, first, second = max(
            (similarities[np.ix_(groups[a], groups[b])].mean(), a, b)
            for a in range(len(groups))
            for b in range(a + 1, len(groups))
        )
        if mean < least:
            break
        groups[first] += groups.pop(second)
    return {frozenset(group) for group in groups}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 14), st.floats(-0.5, 0.9))
def test_a_cut_gives_the_groups_of_the_definition(seed, count, least):
    """For any images and any cut."""
    embeddings = drawn(seed, count)
    tree = average_link(embeddings)
    assert len(tree.pairs) == count - 1
    assert partition(tree.cut(least)) == groups_by_best_pair(embeddings, least)


def test_no_image_and_equal_images():
    """Nothing is a tree without rows; equal images are one group at once."""
    assert average_link(np.empty((0, 3), np.float32)).cut(0.5).tolist() == []
    equal = np.tile(drawn(0, 1), (5, 1))
    assert set(average_link(equal).cut(0.999).tolist()) == {0}
    assert len(set(average_link(equal).cut(1.1).tolist())) == 5
