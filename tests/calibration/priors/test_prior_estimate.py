"""Estimated priors are shares that raise the likelihood, and the gate is open only where they changed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.calibration.priors.bias_correction import BiasCorrection
from lmm_classifier.calibration.priors.prior_estimate import estimate_priors, expectation_maximization
from lmm_classifier.core.numerics import log_softmax

LABELS = 5
EVEN = np.full(LABELS, 1 / LABELS)


def images(seed, count, shares=EVEN):
    """Calibrated log-probabilities by even priors, of images whose labels have `shares`, and these labels."""
    rng = np.random.default_rng(seed)
    label_ids = rng.choice(LABELS, count, p=shares)
    points = rng.normal(size=(count, LABELS)) + 1.5 * np.eye(LABELS)[label_ids]
    return log_softmax(1.5 * points), label_ids


CORRECTION = BiasCorrection.fit(*images(0, 600))
SKEWED = np.array([0.7, 0.2, 0.1, 0, 0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60))
def test_shares_are_probabilities_of_more_likelihood(seed, count):
    """No image lowers the likelihood by much; the pseudo-counts cost a little of it."""
    logs, _ = images(seed, count)
    shares, gain = expectation_maximization(logs, EVEN, np.ones(LABELS, bool))
    assert np.isclose(shares.sum(), 1)
    assert (shares >= 1 / (count + LABELS) / LABELS).all()  # a pseudo-count each
    assert gain >= -1e-9


def test_changed_priors_are_found_and_raise_the_accuracy():
    """Within ten points of the truth, and more images are right."""
    logs, label_ids = images(1, 400, SKEWED)
    estimate = estimate_priors(logs, CORRECTION)
    assert estimate.is_used
    assert np.abs(estimate.shares - SKEWED).max() < 0.1
    assert estimate.images == 400
    before, after = ((scores.argmax(axis=1) == label_ids).mean() for scores in (logs, estimate.apply(logs)))
    assert after > before + 0.05


@pytest.mark.long
def test_the_gate_is_rarely_open_without_change():
    """With a probability of 1 % each, 6 of 100 and more have a probability below 0.001."""
    opened = 0
    for seed in range(100):
        logs, _ = images(1000 + seed, 60)
        estimate = estimate_priors(logs, CORRECTION)
        opened += estimate.is_used
        if not estimate.is_used:
            assert estimate.apply(logs) is logs
    assert opened <= 5


def test_an_estimate_does_not_depend_on_the_order():
    """Up to rounding."""
    logs, _ = images(2, 80, SKEWED)
    first, second = (estimate_priors(rows, CORRECTION) for rows in (logs, logs[::-1]))
    assert np.allclose(first.shares, second.shares)


def test_a_label_that_is_not_measured_keeps_its_probability_ratio():
    """Its share is not told."""
    logs, label_ids = images(3, 400)
    label_ids = np.where(label_ids == 4, 0, label_ids)
    correction = BiasCorrection.fit(logs, label_ids)
    estimate = estimate_priors(images(4, 100, SKEWED)[0], correction)
    assert np.isnan(estimate.shares[4])
    assert np.isfinite(estimate.log_factors).all()
    assert estimate.log_factors[4] == 0
    assert np.isclose(np.nansum(estimate.shares), 1)


@pytest.mark.parametrize("logs", [np.empty((0, LABELS)), np.full((3, LABELS), -np.inf)])
def test_without_an_image_the_gate_is_closed(logs):
    """Nor with images that have no possible label."""
    estimate = estimate_priors(logs, CORRECTION)
    assert not estimate.is_used
    assert estimate.images == 0


@pytest.mark.long
def test_many_images_are_sampled():
    """The time is bounded."""
    assert estimate_priors(images(5, 6000, SKEWED)[0], CORRECTION).images == 5000
