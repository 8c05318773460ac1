"""Comparison of the former and the current examples of an index."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.calibration.calibration import with_knn_distance
from lmm_classifier.index.staleness import ChangesSince
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.novelty import NeighborDensity
from lmm_classifier.testing import random_embeddings

DIGESTS = st.lists(st.integers(0, 6), max_size=12).map(lambda values: np.array(values, np.uint64))


@given(DIGESTS, DIGESTS)
def test_added_and_removed_examples_are_counted(former, current):
    """As multisets. An unchanged example gets a row that it had."""
    changes = ChangesSince.of(former, current)
    before, after = Counter(former.tolist()), Counter(current.tolist())
    assert changes.added == (after - before).total()
    assert changes.removed == (before - after).total()
    for row, digest in zip(changes.rows, current):
        assert (row < 0) == (digest not in before)
        assert row < 0 or former[row] == digest


def test_completed_knn_distances_equal_those_of_a_new_fit():
    """Only the missing ones are computed."""
    embeddings = random_embeddings(np.random.default_rng(0), 40, 8)
    gallery = Gallery(embeddings, np.zeros(40, np.int64), 1)
    whole = NeighborDensity.of(gallery).knn_distance
    some = whole.copy()
    some[[3, 17, 39]] = np.nan
    np.testing.assert_allclose(with_knn_distance(some, gallery), whole, atol=1e-6)
    two = Gallery(embeddings[:2], np.zeros(2, np.int64), 1)
    np.testing.assert_allclose(
        with_knn_distance(np.full(2, np.nan), two), NeighborDensity.of(two).knn_distance, atol=1e-6
    )
