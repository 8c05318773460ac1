"""Similarities to a shortlist are those to all rows, for the rows on the list."""

import numpy as np
import pytest

from lmm_classifier.neighbors import shortlist as module
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.shortlist import ShortlistSimilarities
from lmm_classifier.testing import random_embeddings


@pytest.fixture
def dataset():
    rng = np.random.default_rng(0)
    label_ids = rng.integers(0, 5, 200)
    return Gallery(random_embeddings(rng, 200, 30), label_ids, 6), random_embeddings(rng, 8, 30)


def test_a_list_of_all_rows_gives_the_same_bits(dataset):
    """Every method agrees with a comparison with all rows, with rows left out."""
    gallery, queries = dataset
    left_out = [np.arange(query, 200, 9) for query in range(8)]
    every = np.array([np.random.default_rng(query).permutation(200) for query in range(8)])
    shortlist = ShortlistSimilarities.of(gallery, queries, every, left_out)
    complete = gallery.compare(queries, left_out)
    assert len(shortlist) == len(complete) == 8
    for name in ("mean_cosines", "square_distances", "best_label"):
        np.testing.assert_array_equal(getattr(shortlist, name)(), getattr(complete, name)())
    for m in (1, 3):
        np.testing.assert_array_equal(shortlist.top_k_mean(m), complete.top_k_mean(m))
    wanted = [(query, gallery.rows_of_label[query % 5]) for query in range(8)]
    for (rows, cosines), (expected_rows, expected_cosines) in [
        (shortlist.nearest_each(7), complete.nearest_each(7)),
        (shortlist.nearest_among(wanted, 4), complete.nearest_among(wanted, 4)),
        (shortlist.nearest(2, 3), complete.nearest(2, 3)),
    ]:
        np.testing.assert_array_equal(rows, expected_rows)
        np.testing.assert_array_equal(cosines, expected_cosines)


def test_rows_of_the_nearest_labels_are_always_compared(dataset, monkeypatch):
    """All rows of small labels and an even sample of large ones, so that a search in the wrong label does no harm."""
    monkeypatch.setattr("lmm_classifier.neighbors.shortlist._LABELS", 2)
    gallery, queries = dataset
    no_rows = np.full((8, 1), -1)
    whole_labels = ShortlistSimilarities.of(gallery, queries, no_rows)
    for query, cosines in enumerate(whole_labels.mean_cosines()):
        best = np.argsort(-cosines)[:2]
        expected = np.sort(np.concatenate([gallery.rows_of_label[label] for label in best]))
        np.testing.assert_array_equal(np.sort(whole_labels.nearest(query, 200)[0]), expected)
    monkeypatch.setattr("lmm_classifier.neighbors.shortlist._OF_EACH", 10)
    samples = ShortlistSimilarities.of(gallery, queries, no_rows)
    for query, cosines in enumerate(samples.mean_cosines()):
        rows = samples.nearest(query, 200)[0]
        assert set(gallery.label_ids[rows]) == set(np.argsort(-cosines)[:2])
        assert 10 <= len(rows) <= 20


def test_rows_missing_from_the_list_are_not_compared(dataset, monkeypatch):
    """A label without a row has no nearest row but a mean; its rows are compared if the caller names them."""
    monkeypatch.setattr("lmm_classifier.neighbors.shortlist._LABELS", 0)
    gallery, queries = dataset
    listed = gallery.rows_of_label[2][:6]
    similarities = ShortlistSimilarities.of(gallery, queries, np.tile([*listed, -1, -1], (8, 1)))
    means = similarities.top_k_mean(2)
    assert np.isfinite(means[:, 2]).all()
    assert np.isneginf(np.delete(means, 2, axis=1)).all()
    np.testing.assert_array_equal(similarities.mean_cosines(), gallery.compare(queries).mean_cosines())
    assert (similarities.nearest_each(8)[0][:, 6:] == -1).all()
    rows, cosines = similarities.nearest(1, 3, gallery.rows_of_label[4])
    np.testing.assert_array_equal(rows, gallery.compare(queries).nearest(1, 3, gallery.rows_of_label[4])[0])
    assert (np.diff(cosines) <= 0).all()


def test_by_default_four_labels_and_250_rows_of_each_are_always_compared():
    """Of a label of 251 rows every second one; of six labels the four whose means are nearest."""
    rng = np.random.default_rng(1)
    label_ids = np.repeat(np.arange(6), [250, 251, 3, 3, 3, 3])
    gallery = Gallery(random_embeddings(rng, len(label_ids), 8), label_ids, 6)
    queries = random_embeddings(rng, 30, 8)
    similarities = ShortlistSimilarities.of(gallery, queries, np.full((30, 1), -1))
    seen = set()
    for query, cosines in enumerate(similarities.mean_cosines()):
        expected = []
        for label in np.argsort(-cosines)[:4]:
            rows = gallery.rows_of_label[label]
            expected.extend(rows[::2] if label == 1 else rows)
            seen.add(int(label))
        assert similarities.nearest(query, 600)[0].tolist() == sorted(
            sorted(expected), key=lambda row, query=query: -(gallery.embeddings[row].astype(float) @ queries[query])
        )
    assert seen == set(range(6))


def test_a_label_without_rows_adds_none():
    """Although it is one of the four labels that are left."""
    gallery = Gallery(np.eye(3, dtype=np.float32), np.array([0, 0, 2]), 3)
    similarities = ShortlistSimilarities.of(gallery, np.eye(3, dtype=np.float32)[:1], np.array([[-1]]))
    assert similarities.nearest(0, 9)[0].tolist() == [0, 1, 2]
    assert [part.shape for part in similarities.nearest_each(0)] == [(1, 0), (1, 0)]


def test_the_first_row_may_be_on_the_list(dataset, monkeypatch):
    """Only -1 stands for none."""
    monkeypatch.setattr("lmm_classifier.neighbors.shortlist._LABELS", 0)
    gallery, queries = dataset
    similarities = ShortlistSimilarities.of(gallery, queries, np.tile([0, -1, 5], (8, 1)))
    assert set(similarities.nearest(0, 9)[0].tolist()) == {0, 5}


@pytest.mark.parametrize(
    ("listed", "most", "all_rows"), [(2, 4096, True), (3, 4096, False), (2, 0, True), (2, 1, False)]
)
def test_named_rows_are_all_compared_where_the_list_has_too_few(dataset, monkeypatch, listed, most, all_rows):
    """Fewer than wanted, and not very many rows: up to the limit, which is inclusive."""
    gallery, queries = dataset
    rows = gallery.rows_of_label[4]
    monkeypatch.setattr("lmm_classifier.neighbors.shortlist._LABELS", 0)
    monkeypatch.setattr("lmm_classifier.neighbors.shortlist._MOST_OF_A_LABEL", most if most > 1 else len(rows) - most)
    far = rows[np.argsort(gallery.embeddings[rows] @ queries[1])[:listed]]
    similarities = ShortlistSimilarities.of(gallery, queries, np.tile(far, (8, 1)))
    nearest = similarities.nearest(1, 3, rows)[0]
    if all_rows:
        np.testing.assert_array_equal(nearest, gallery.compare(queries).nearest(1, 3, rows)[0])
    else:
        assert set(nearest.tolist()) == set(far.tolist())


def test_no_queries_and_empty_lists(dataset, monkeypatch):
    """No queries give empty results, and an empty list gives no neighbors."""
    monkeypatch.setattr("lmm_classifier.neighbors.shortlist._LABELS", 0)
    gallery, queries = dataset
    without_queries = ShortlistSimilarities.of(gallery, queries[:0], np.empty((0, 4), np.int64))
    assert without_queries.top_k_mean(3).shape == (0, 6)
    empty = ShortlistSimilarities.of(gallery, queries, np.full((8, 3), -1))
    assert np.isneginf(empty.top_k_mean(1)).all()
    assert len(empty.nearest(0, 5)[0]) == 0


def test_of_a_label_up_to_4096_rows_are_compared_one_by_one():
    """More would take too long for a search that is meant to be fast."""
    assert module._MOST_OF_A_LABEL == 4096
