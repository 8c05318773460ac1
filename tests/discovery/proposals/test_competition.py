"""Groups compete with the known labels for the images."""

import numpy as np
import pytest

from lmm_classifier.discovery.proposals import competition
from lmm_classifier.discovery.proposals.competition import compete
from tests.discovery.proposals.made import DIM, around, known


def test_written_down_anew():
    """Soft k-means with a base, in float64 and without blocks."""
    embeddings = np.concatenate([around(axis, 15, 1, 0.3) for axis in (0, 1, 6)])
    sums, seeds = known().sums, around(6, 1, 2)
    found = compete(embeddings, sums, seeds)
    base = np.concatenate([sums, seeds])
    centers = base / np.linalg.norm(base, axis=1, keepdims=True)
    for _ in range(10):
        weights = np.exp(embeddings @ centers.T / 0.05)
        weights /= weights.sum(axis=1, keepdims=True)
        centers = base + 0.3 * weights.T @ embeddings
        centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    np.testing.assert_allclose(found.centers, centers, atol=1e-5)
    np.testing.assert_array_equal(found.winners, (embeddings @ centers.T).argmax(axis=1))
    np.testing.assert_array_equal(found.nearest_labels, (embeddings @ centers[:3].T).argmax(axis=1))


def test_blocks_change_nothing(monkeypatch):
    """Large folders are assigned part by part."""
    embeddings, seeds = np.concatenate([around(axis, 9, 1) for axis in (0, 6)]), around(6, 1, 2)
    whole = compete(embeddings, known().sums, seeds)
    monkeypatch.setattr(competition, "_AT_ONCE", 8)
    parts = compete(embeddings, known().sums, seeds)
    np.testing.assert_allclose(parts.centers, whole.centers, atol=1e-6)
    np.testing.assert_array_equal(parts.winners, whole.winners)


@pytest.mark.parametrize(("labels", "groups"), [(0, 0), (0, 1), (2, 0)])
def test_without_labels_or_groups(labels, groups):
    """What is missing wins nothing."""
    embeddings, sums = around(0, 4, 0), known().sums[:labels]
    found = compete(embeddings, sums.reshape(-1, DIM), around(6, groups, 0))
    assert found.centers.shape == (labels + groups, DIM)
    assert (found.nearest_labels == (0 if labels else -1)).all()
