"""Proposed hierarchies: labels whose examples are similar come together, cuts are nested, the order does not matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.discovery.hierarchy import class_means, propose_hierarchy
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.average_link import average_link
from tests.helpers.vector_indexes import NESTED, nested_embeddings


def proposed(vectors, labels, groups):
    return propose_hierarchy([Index.from_vectors(vectors, labels)], groups)


def parts(hierarchy, depth):
    found = {}
    for label, steps in hierarchy.above.items():
        found.setdefault(steps[depth] if len(steps) > depth else label, set()).add(label)
    return {frozenset(labels) for labels in found.values()}


def test_similar_labels_come_together():
    """Those that were drawn near each other."""
    hierarchy = proposed(*nested_embeddings(), [3])
    assert parts(hierarchy, 0) == {frozenset(("shirt", "blouse")), frozenset(("skirt", "shorts")), frozenset(("hat",))}
    assert hierarchy.coarse_labels == {"like blouse, shirt", "like shorts, skirt"}


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(3, 9))
def test_cuts_are_nested(seed, labels):
    """A level with fewer parts contains those of one with more; the order of examples and numbers does not matter."""
    above = {f"l{number}": (f"c{number % 3}",) for number in range(labels)}
    vectors, names = nested_embeddings(seed, count=6, above=above)
    groups = sorted({2, max(2, labels // 2), labels - 1})
    hierarchy = proposed(vectors, names, groups)
    assert set(hierarchy.above) == set(names)
    assert 1 <= hierarchy.height <= len(groups)
    order = np.random.default_rng(seed).permutation(len(names))
    assert proposed(vectors[order], [names[row] for row in order], groups[::-1]).above == hierarchy.above


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 14))
def test_a_cut_has_the_number_of_groups(seed, count, groups):
    """Or as many as there are rows; also of equal rows."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, 5))[rng.integers(count, size=count)]
    tree = average_link((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))
    cut = tree.cut_into(groups)
    assert len(set(cut.tolist())) == min(groups, count)
    finer = tree.cut_into(groups + 1)
    assert all(len(set(cut[finer == part].tolist())) == 1 for part in set(finer.tolist()))


def test_several_encoders_are_averaged():
    """Two of the same give what one gives."""
    vectors, labels = nested_embeddings()
    index = Index.from_vectors(vectors, labels)
    assert propose_hierarchy([index, index], [3]) == propose_hierarchy([index], [3])


def test_means_are_unit_vectors():
    """Also of a label with one example."""
    vectors, labels = nested_embeddings(count=3)
    index = Index.from_vectors(vectors[:-2], labels[:-2])
    means = class_means(index.gallery.embeddings, index.label_ids, len(NESTED))
    assert np.allclose(np.linalg.norm(means, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("groups", [[], [1], [5], [3, 9]])
def test_impossible_numbers_are_refused(groups):
    """The message says what is possible."""
    with pytest.raises(CalibrationError, match="from 2 to 4"):
        proposed(*nested_embeddings(count=3), groups)


def test_two_labels_are_too_few():
    """There is nothing to join."""
    vectors, _ = nested_embeddings(count=2)
    with pytest.raises(CalibrationError, match="3 to 10,000 labels, but the index has 2"):
        proposed(vectors[:4], ["a", "a", "b", "b"], [2])
