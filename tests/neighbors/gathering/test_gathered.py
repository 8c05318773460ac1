"""What is put for labels that are not read, and inner products with rows of a space."""

import numpy as np
import pytest

from lmm_classifier.neighbors.gallery import ProjectedMetric
from lmm_classifier.neighbors.gathering.gathered import RowsInSpace, UnreadLabels
from lmm_classifier.testing import random_embeddings


def test_a_line_is_fitted():
    """The least-squares line through the examples; pairs without a value do not count."""
    rng = np.random.default_rng(0)
    cosines = np.append(rng.uniform(-1, 1, 50), [np.inf, 0.3])
    means = np.append(0.1 + 0.7 * cosines[:50], [0.2, -np.inf])
    lines = UnreadLabels.fit({5: (cosines, means), 3: (cosines[:1], means[:1])}).lines
    assert list(lines) == [5]
    assert lines[5] == pytest.approx((0.1, 0.7))
    assert UnreadLabels.fit({5: (np.zeros(9), np.arange(9.0))}).lines[5] == pytest.approx((4, 0))


def test_only_labels_with_rows_are_filled():
    """A value that is there stays; a label without any row stays without evidence; a cosine is at most 1."""
    unread = UnreadLabels({5: (0.5, 1.0)})
    means = np.array([[0.2, -np.inf, -np.inf, -np.inf]])
    to_means = np.array([[0.9, 0.1, -np.inf, 0.8]])
    np.testing.assert_allclose(unread.filled(5, means, to_means), [[0.2, 0.6, -np.inf, 1.0]])
    assert unread.filled(3, means, to_means) is means


def test_lines_are_stored():
    """They come back the same; anything else is an error."""
    unread = UnreadLabels({5: (0.5, 1.0), 3: (0.25, -1.0)})
    assert UnreadLabels.from_array(unread.to_array()) == unread
    assert UnreadLabels.from_array(UnreadLabels().to_array()) == UnreadLabels()
    for damaged in (np.zeros(3), np.zeros((1, 2)), np.array([[5, np.nan, 0]])):
        with pytest.raises(ValueError, match="labels without a row"):
            UnreadLabels.from_array(damaged)


@pytest.mark.parametrize("kind", ["plain", "norms", "projected"])
def test_products(kind, monkeypatch):
    """One pair at a time and all by one product agree, in parts too."""
    monkeypatch.setattr("lmm_classifier.neighbors.gathering.gathered._ROWS", 7)
    rng = np.random.default_rng(0)
    rows, center = random_embeddings(rng, 30, 8), random_embeddings(rng, 1, 8)[0]
    norms, projection = rng.uniform(1, 2, 30), rng.normal(size=(8, 8)).astype(np.float32)
    vectors = rng.normal(size=(4, 8))
    space, mapped = {
        "plain": (RowsInSpace(rows), rows.astype(float)),
        "norms": (RowsInSpace(rows, norms), rows * norms[:, None]),
        "projected": (
            RowsInSpace(rows, norms, ProjectedMetric(center, projection, norms)),
            (rows - center).astype(float) @ projection,
        ),
    }[kind]
    queries, numbers = np.repeat(np.arange(4), 30), np.tile(np.arange(30), 4)
    expected = (vectors[queries] * mapped[numbers]).sum(axis=1)
    np.testing.assert_allclose(space.products(vectors, queries, numbers), expected, atol=1e-5)
    np.testing.assert_allclose(space.fast_products(vectors, queries, numbers), expected, atol=1e-4)
    np.testing.assert_allclose(space.squares(numbers), 1 if kind == "plain" else norms[numbers] ** 2)
