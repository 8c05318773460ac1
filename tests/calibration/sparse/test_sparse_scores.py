"""Sparse scores give the probabilities and temperatures of dense ones, within bounds that they know."""

import numpy as np
import pytest

from lmm_classifier.calibration.sparse.sparse_scores import CANDIDATES, SparseScores
from lmm_classifier.calibration.temperature import (
    fit_sparse_temperature,
    fit_temperature,
    log_losses,
    sparse_log_losses,
)
from lmm_classifier.core.numerics import log_softmax


def drawn(count=60, labels=3000, spread=2.0, missing=0.1, seed=0):
    """Return scores (n, C) in which the true label usually is among the best, and some are -inf."""
    rng = np.random.default_rng(seed)
    scores = spread * rng.normal(size=(count, labels))
    label_ids = rng.integers(0, labels, count)
    scores[np.arange(count), label_ids] += rng.normal(4, 3, count) * spread
    scores[rng.random(scores.shape) < missing] = -np.inf
    return scores, label_ids


@pytest.mark.parametrize("labels", [2, CANDIDATES, CANDIDATES + 1, 200, 3000])
def test_temperatures_and_losses(labels):
    """Losses at any temperature and the fitted temperature are those of dense scores."""
    scores, label_ids = drawn(labels=labels)
    sparse = SparseScores.of(scores, label_ids)
    fitted = fit_temperature(scores, label_ids)
    assert fit_sparse_temperature(sparse, label_ids) == pytest.approx(fitted, rel=1e-3)
    for temperature in (fitted / 4, fitted, 4 * fitted):
        expected = log_losses(scores, label_ids, temperature)
        np.testing.assert_allclose(sparse_log_losses(sparse, label_ids, temperature), expected, atol=5e-3)


@pytest.mark.parametrize("labels", [2, CANDIDATES + 1, 3000])
def test_probabilities(labels):
    """The best label is the same, also its probability and that of the true label; all labels count."""
    scores, label_ids = drawn(labels=labels)
    sparse, dense = SparseScores.of(scores, label_ids).log_softmax(1.5), log_softmax(scores / 1.5)
    best, value = sparse.best()
    np.testing.assert_array_equal(best, np.where(np.isfinite(dense).any(axis=1), dense.argmax(axis=1), -1))
    np.testing.assert_allclose(np.exp(value), np.exp(dense.max(axis=1)), atol=2e-3)
    of_true = dense[np.arange(len(dense)), label_ids]
    np.testing.assert_allclose(np.exp(sparse.of_labels(label_ids)), np.exp(of_true), atol=2e-3)
    np.testing.assert_array_equal(sparse.counts.sum(axis=1), np.isfinite(scores).sum(axis=1))
    np.testing.assert_allclose((sparse.counts * np.exp(sparse.scores)).sum(axis=1)[best >= 0], 1)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 2.0, 50.0])
def test_the_rest_lies_between_its_bounds(temperature):
    """The sum of the rest is what its bounds allow, whatever the temperature, and these are close."""
    scores, label_ids = drawn()
    sparse = SparseScores.of(scores, label_ids)
    least, largest = sparse.rest_bounds(temperature)
    rest = scores.copy()
    for row, labels in enumerate(sparse.labels):
        rest[row, labels[labels >= 0]] = -np.inf
    exact = np.exp((rest - sparse.tops[:, None]) / temperature).sum(axis=1)
    assert (least <= exact * (1 + 1e-9)).all()
    assert (exact <= largest * (1 + 1e-9)).all()
    assert (largest / least).max() < 1.15


def test_log_softmax_keeps_the_bounds():
    """The rest of log-probabilities is bounded as that of scores at the temperature."""
    scores, label_ids = drawn()
    sparse = SparseScores.of(scores, label_ids)
    for bound, expected in zip(sparse.log_softmax(0.7).rest_bounds(), sparse.rest_bounds(0.7)):
        np.testing.assert_allclose(bound, expected)


def test_a_true_label_without_a_score():
    """It has no column, and its row counts for no loss."""
    scores, label_ids = drawn(count=4)
    scores[2, label_ids[2]] = -np.inf
    scores[3] = -np.inf
    sparse = SparseScores.of(scores, label_ids)
    assert (sparse.columns_of(label_ids) >= 0).tolist()[2:] == [False, False]
    assert len(sparse_log_losses(sparse, label_ids, 1.0)) == len(log_losses(scores, label_ids, 1.0))
    best, value = sparse.log_softmax().best()
    assert best[3] == -1
    assert np.isneginf(value[3])
    assert np.isneginf(sparse.of_labels(label_ids)[2:]).all()


def test_the_true_label_is_kept_although_it_is_far_from_the_best():
    """Its score is exact, however many labels are better."""
    scores = np.arange(200.0)[None] / 10
    sparse = SparseScores.of(scores, np.array([3]))
    assert sparse.of_labels(np.array([3])) == pytest.approx(0.3)
    assert sparse.of_labels(np.array([120])) == -np.inf  # it is in a group


def test_parts_are_joined():
    """Parts of examples give the scores of all of them, in order."""
    scores, label_ids = drawn()
    whole = SparseScores.of(scores, label_ids)
    parts = [SparseScores.of(scores[part], label_ids[part]) for part in (slice(0, 25), slice(25, 60))]
    joined = SparseScores.join(parts)
    for name in ("labels", "scores", "counts", "widths", "tops"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    assert len(joined) == 60
