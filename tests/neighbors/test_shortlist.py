"""A comparison with a shortlist is one with all rows, as far as the list goes."""

import numpy as np
import pytest

from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.shortlist import ShortlistComparison
from lmm_classifier.testing import unit_rows


@pytest.fixture
def corpus():
    rng = np.random.default_rng(0)
    label_ids = rng.integers(0, 5, 200)
    return Gallery(unit_rows(rng, 200, 30), label_ids, 6), unit_rows(rng, 8, 30)


def test_a_list_of_all_rows_gives_the_same_bits(corpus):
    """Whatever is asked, with rows left out."""
    gallery, queries = corpus
    gone = [np.arange(query, 200, 9) for query in range(8)]
    every = np.array([np.random.default_rng(query).permutation(200) for query in range(8)])
    one, other = ShortlistComparison.of(gallery, queries, every, gone), gallery.compare(queries, gone)
    assert len(one) == len(other) == 8
    for ask in ("mean_cosines", "square_distances"):
        np.testing.assert_array_equal(getattr(one, ask)(), getattr(other, ask)())
    for m in (1, 3):
        np.testing.assert_array_equal(one.top_mean(m), other.top_mean(m))
    wanted = [(query, gallery.rows_of_label[query % 5]) for query in range(8)]
    for mine, theirs in [
        (one.nearest_each(7), other.nearest_each(7)),
        (one.nearest_among(wanted, 4), other.nearest_among(wanted, 4)),
        (one.nearest(2, 3), other.nearest(2, 3)),
    ]:
        np.testing.assert_array_equal(mine[0], theirs[0])
        np.testing.assert_array_equal(mine[1], theirs[1])


def test_rows_of_the_nearest_labels_are_compared_in_any_case(corpus, monkeypatch):
    """All of small labels, an even pick of large ones: so a graph that ends in the wrong label does no harm."""
    monkeypatch.setattr("lmm_classifier.neighbors.shortlist._LABELS", 2)
    gallery, queries = corpus
    none = np.full((8, 1), -1)
    whole = ShortlistComparison.of(gallery, queries, none)
    for query, cosines in enumerate(whole.mean_cosines()):
        best = np.argsort(-cosines)[:2]
        expected = np.sort(np.concatenate([gallery.rows_of_label[label] for label in best]))
        np.testing.assert_array_equal(np.sort(whole.nearest(query, 200)[0]), expected)
    monkeypatch.setattr("lmm_classifier.neighbors.shortlist._OF_EACH", 10)
    some = ShortlistComparison.of(gallery, queries, none)
    for query, cosines in enumerate(some.mean_cosines()):
        rows = some.nearest(query, 200)[0]
        assert set(gallery.label_ids[rows]) == set(np.argsort(-cosines)[:2])
        assert 10 <= len(rows) <= 20


def test_what_the_list_lacks_is_passed_over(corpus, monkeypatch):
    """A label without a row has no nearest one, but its mean is known; its rows are compared when asked for."""
    monkeypatch.setattr("lmm_classifier.neighbors.shortlist._LABELS", 0)
    gallery, queries = corpus
    own = gallery.rows_of_label[2][:6]
    found = np.tile([*own, -1, -1], (8, 1))
    comparison = ShortlistComparison.of(gallery, queries, found)
    tops = comparison.top_mean(2)
    assert np.isfinite(tops[:, 2]).all()
    assert np.isneginf(np.delete(tops, 2, axis=1)).all()
    np.testing.assert_array_equal(comparison.mean_cosines(), gallery.compare(queries).mean_cosines())
    assert (comparison.nearest_each(8)[0][:, 6:] == -1).all()
    rows, cosines = comparison.nearest(1, 3, gallery.rows_of_label[4])
    np.testing.assert_array_equal(rows, gallery.compare(queries).nearest(1, 3, gallery.rows_of_label[4])[0])
    assert (np.diff(cosines) <= 0).all()


def test_no_queries_and_empty_lists(corpus, monkeypatch):
    """Nothing in, nothing out; no row found, no row near."""
    monkeypatch.setattr("lmm_classifier.neighbors.shortlist._LABELS", 0)
    gallery, queries = corpus
    none = ShortlistComparison.of(gallery, queries[:0], np.empty((0, 4), np.int64))
    assert none.top_mean(3).shape == (0, 6)
    empty = ShortlistComparison.of(gallery, queries, np.full((8, 3), -1))
    assert np.isneginf(empty.top_mean(1)).all()
    assert len(empty.nearest(0, 5)[0]) == 0
