"""Nearest pairs are those of brute force, and near duplicates stand out whatever the cosines of an encoder are."""

import numpy as np
import pytest

from lmm_classifier.neighbors import near_duplicates
from lmm_classifier.neighbors.near_duplicates import duplicate_cosine, nearest_pairs
from lmm_classifier.testing import clustered_embeddings

LABELS = ["a"] * 150 + ["b"] * 150


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_nearest_pairs_are_those_of_brute_force(monkeypatch):
    """In blocks as in one piece; a row is no partner of itself, and each pair comes once."""
    monkeypatch.setattr(near_duplicates, "_HELD", 1000)
    rows = clustered_embeddings(np.random.default_rng(0), LABELS[100:200], 16)
    pairs, cosines = nearest_pairs(rows, count=2)
    similarities = rows @ rows.T
    np.fill_diagonal(similarities, -np.inf)
    expected = {tuple(sorted((row, int(best)))) for row in range(100) for best in np.argsort(-similarities[row])[:2]}
    assert set(map(tuple, pairs.tolist())) == expected
    np.testing.assert_allclose(cosines, similarities[pairs[:, 0], pairs[:, 1]], rtol=1e-5)
    pairs, cosines = nearest_pairs(rows[:3], rows, 1)
    assert pairs.tolist() == [[0, 0], [1, 1], [2, 2]]


def best_by_sorting(similarities, count):
    """The `count` largest cosines of each row, with their columns."""
    return {
        (row, int(column)): float(values[column])
        for row, values in enumerate(similarities)
        for column in np.argsort(-values, kind="stable")[:count]
    }


@pytest.mark.parametrize("count", [1, 3, 12, 39, 99])
@pytest.mark.parametrize("held", [10, 1000])
def test_partners_are_the_most_similar_of_others(monkeypatch, count, held):
    """However many are wanted, up to all, and however few rows fit into memory at a time."""
    monkeypatch.setattr(near_duplicates, "_HELD", held)
    rng = np.random.default_rng(0)
    rows, others = unit(rng.normal(size=(30, 8))), unit(rng.normal(size=(40, 8)))
    pairs, cosines = nearest_pairs(rows, others, count)
    found = dict(zip(map(tuple, pairs.tolist()), cosines.tolist()))
    assert len(pairs) == 30 * min(count, 40)
    assert found == pytest.approx(best_by_sorting(rows @ others.T, count), abs=1e-6)


def test_three_partners_unless_more_are_asked_for():
    """Of each row, where there are so many."""
    rows = unit(np.random.default_rng(0).normal(size=(10, 8)))
    pairs, _ = nearest_pairs(rows[:4], rows)
    assert np.bincount(pairs[:, 0]).tolist() == [3, 3, 3, 3]
    pairs, _ = nearest_pairs(rows[:3])
    assert pairs.tolist() == [[0, 1], [0, 2], [1, 2]]


def test_no_others_to_compare_with():
    """There is no pair then."""
    pairs, cosines = nearest_pairs(np.eye(3, dtype=np.float32), np.empty((0, 3), np.float32))
    assert (pairs.shape, cosines.shape) == ((0, 2), (0,))


def limit_by_hand(nearest):
    """The exponential tail through the median and the 90 % quantile of Fisher's z, one row in a thousand beyond it."""
    half, far = np.quantile(np.arctanh(nearest), [0.5, 0.9])
    return np.tanh(half + (far - half) * np.log(0.5 / 0.001) / np.log(0.5 / 0.1))


def test_the_limit_is_that_of_the_tail():
    """Of the nearest cosine of each row, whichever side of a pair it is on; rows without a pair do not count."""
    rng = np.random.default_rng(2)
    pairs = np.array([sorted(rng.choice(80, 2, replace=False)) for _ in range(200)])
    pairs = pairs[(pairs != 7).all(axis=1)]
    cosines = rng.uniform(-0.2, 0.5, len(pairs))
    nearest = [cosines[(pairs == row).any(axis=1)].max(initial=-np.inf) for row in range(80)]
    by_hand = limit_by_hand([cosine for cosine in nearest if np.isfinite(cosine)])
    assert by_hand < 0.99
    assert duplicate_cosine(pairs, cosines) == pytest.approx(by_hand, rel=1e-12)


def test_the_limit_of_very_similar_rows_is_that_of_equal_vectors():
    """Where half of the cosines are 1 the limit is no infinity; too few rows give it as well."""
    pairs = np.arange(200).reshape(100, 2)
    equal = 0.99999
    assert duplicate_cosine(pairs, np.repeat([0.5, 1.0], 50)) == equal
    assert duplicate_cosine(pairs, np.full(100, -1.0)) == pytest.approx(-equal)
    assert duplicate_cosine(pairs[:24], np.full(24, 0.3)) == equal
    assert duplicate_cosine(pairs[:25], np.full(25, 0.3)) == pytest.approx(0.3)


@pytest.mark.parametrize("rows", [0, 1])
def test_nothing_to_compare(rows):
    """No row, or one alone, has no pair; the limit is then that of equal vectors."""
    pairs, cosines = nearest_pairs(np.ones((rows, 4), np.float32) / 2)
    assert pairs.shape == (0, 2)
    assert duplicate_cosine(pairs, cosines) > 0.9999


@pytest.mark.parametrize("common", [0.0, 1.0, 6.0])
def test_the_limit_follows_the_encoder(common):
    """A common direction raises every cosine. Twelve planted copies are found, and at most one false pair."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(300, 24))
    rows[:12] = rows[288:] + 0.1 * rng.normal(size=(12, 24))
    rows = unit(rows + common * np.ones(24))
    pairs, cosines = nearest_pairs(rows)
    found = set(map(tuple, pairs[cosines >= duplicate_cosine(pairs, cosines)].tolist()))
    planted = {(row, 288 + row) for row in range(12)}
    assert planted <= found
    assert len(found - planted) <= 1
