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
