"""One order, with three weights."""

import numpy as np
import pytest

from lmm_classifier.discovery.cover import ambiguity, cover, either, novelty
from lmm_classifier.discovery.suggestions.label_order import LabelWeights, label_order
from lmm_classifier.discovery.votes import Votes

HELD_OUT = np.linspace(-3, 3, 101)


def votes(labels=("a", "b")):
    scores, second = np.array([0.9, 0.5, 0.6]), np.array([0.1, 0.45, 0.2])
    zeros = np.zeros(3, np.int64)
    return Votes(labels, zeros, scores, second, np.array([2.0, 1.0, -2.9]), ["confident"] * 3, ["a"] * 3)


def test_weights():
    """Each is that of `cover`; an image counts for the larger of two reasons."""
    given = votes()
    competing = ambiguity(np.stack([given.second, given.scores], axis=1))
    new = novelty(given.familiarity, HELD_OUT)
    np.testing.assert_allclose(LabelWeights.of(given, HELD_OUT, "new").weights, new)
    np.testing.assert_allclose(LabelWeights.of(given, HELD_OUT, "ambiguous").weights, competing)
    both = LabelWeights.of(given, HELD_OUT)
    np.testing.assert_allclose(both.weights, either(competing, new))
    assert [both.reason(row) for row in range(3)] == ["ambiguous", "ambiguous", "new"]
    assert LabelWeights.of(given, HELD_OUT, "new").reason(0) == "new"


@pytest.mark.parametrize("by", ["all", "ambiguous", "cold_start"])
def test_where_nothing_competes_all_count_alike(by):
    """With one label, and at the start."""
    weights = LabelWeights.of(votes(("a",)), HELD_OUT, by)
    assert weights.weights.tolist() == [1, 1, 1]
    assert weights.reason(1) == "cold_start"


def test_the_order_is_the_cover():
    """There is no second formula."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, 6)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    names = [f"{row:02}" for row in range(20)]
    weights = LabelWeights(rng.random(20), None)
    expected = cover(rows, weights.weights, names, 7, rows[:2])
    assert label_order(rows, weights, names, 7, rows[:2]).rows.tolist() == expected.rows.tolist()
