"""Comparison of the former and the current examples of an index."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.calibration.calibration import with_knn_distance
from lmm_classifier.index.staleness import ChangesSince, ExampleDigests
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.novelty import NeighborDensity
from lmm_classifier.testing import random_embeddings

CONTENTS = st.lists(st.tuples(st.integers(0, 6), st.sampled_from("abc")), max_size=12)


def digests(pairs):
    """Digests of examples, given as pairs of a content and a label."""
    labels = sorted({label for _, label in pairs})
    label_ids = np.array([labels.index(label) for _, label in pairs], np.int64)
    return ExampleDigests(np.array([content for content, _ in pairs], np.uint64), label_ids, tuple(labels))


@given(CONTENTS, CONTENTS)
def test_added_and_removed_examples_are_counted(former, current):
    """As multisets of content and label. An unchanged example gets a row that it had."""
    changes = ChangesSince.of(digests(former), digests(current))
    names = {now: before for before, now in changes.renamed.items()}
    lost = {label for _, label in former} - {names.get(label, label) for _, label in current}
    known = {label for _, label in former}
    labels = {label: names.get(label, label) for _, label in current}
    translated = [(content, labels[label]) for content, label in current]
    is_new = [labels[label] not in known or label in changes.new_labels for _, label in current]
    before = Counter(former)
    after = Counter(pair if not new else (*pair, "new") for pair, new in zip(translated, is_new))
    assert changes.added >= (after - before).total()
    assert changes.removed >= (before - after).total()
    assert changes.added - changes.removed == len(current) - len(former)
    assert not lost & set(changes.renamed.values() and names.values())
    for row, (content, _) in zip(changes.rows, current):
        assert row < 0 or former[row][0] == content


@given(CONTENTS.filter(bool), st.permutations("abc"))
def test_renamed_labels_change_no_example(former, names):
    """Whatever the names are, also where labels exchange their names."""
    distinct = [(number, label) for number, (_, label) in enumerate(former)]
    renamed = [(number, "xyz"["abc".index(names["abc".index(label)])]) for number, label in distinct]
    changes = ChangesSince.of(digests(distinct), digests(renamed))
    assert not changes.changed
    assert changes.new_labels == ()
    assert changes.rows.tolist() == list(range(len(former)))
    exchanged = [(number, names["abc".index(label)]) for number, label in distinct]
    assert not ChangesSince.of(digests(distinct), digests(exchanged)).changed


def test_a_relabeled_example_is_changed_and_a_label_without_examples_is_lost():
    """A few corrections are no renaming; labels that were merged are not the former ones."""
    former = [(number, "a" if number < 5 else "b") for number in range(10)]
    corrected = [*former[:9], (9, "a")]
    changes = ChangesSince.of(digests(former), digests(corrected))
    assert (changes.added, changes.removed, dict(changes.renamed)) == (1, 1, {})
    merged = [(number, "b") for number in range(10)]
    changes = ChangesSince.of(digests(former), digests(merged))
    assert (changes.added, changes.removed, dict(changes.renamed)) == (5, 5, {})
    split = [*former[:5], *((number, "c") for number in (5, 6, 7)), *former[8:]]
    changes = ChangesSince.of(digests(former), digests(split))
    assert (changes.added, changes.new_labels, dict(changes.renamed)) == (3, ("c",), {})


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
