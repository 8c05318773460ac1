"""Similarities of several encoders are fused by their weights."""

import numpy as np
import pytest

from lmm_classifier.discovery.fused_space import FusedSpace
from lmm_classifier.discovery.space import DiscoverySpace


def rows(seed, count, dim):
    drawn = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_a_cosine_is_the_weighted_mean_of_the_cosines():
    """Of any two images; and each is a unit vector."""
    first, second, labels = rows(0, 30, 6), rows(1, 30, 9), np.arange(30) % 3
    fused = FusedSpace.of_examples([first, second], labels, 3, [3.0, 1.0])
    mapped = fused.map([first, second])
    each = [DiscoverySpace.of_examples(part, labels, 3).map(part) for part in (first, second)]
    expected = 0.75 * each[0] @ each[0].T + 0.25 * each[1] @ each[1].T
    np.testing.assert_allclose(mapped @ mapped.T, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(mapped, axis=1), 1, atol=1e-5)


def test_one_encoder_keeps_its_bits():
    """Whatever its weight is."""
    images, labels = rows(2, 20, 5), np.arange(20) % 2
    alone = DiscoverySpace.of_examples(images, labels, 2).map(images)
    np.testing.assert_array_equal(FusedSpace.of_examples([images], labels, 2, [1.7]).map([images]), alone)


def test_vectors_of_a_missing_encoder_are_refused():
    """Silence would give a wrong similarity."""
    images = rows(3, 10, 4)
    with pytest.raises(ValueError, match="argument 2"):
        FusedSpace.of_unlabeled([images, images]).map([images])
