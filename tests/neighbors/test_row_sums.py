"""Sums of one pass give the scatter of two passes."""

import numpy as np
import pytest

from lmm_classifier.neighbors.metric import apply_power_normalization, fit_scatter
from lmm_classifier.neighbors.row_sums import RowSums, scatter_of_sums
from lmm_classifier.testing import clustered_embeddings


@pytest.mark.parametrize("power_normalize", [False, True])
def test_the_scatter_is_that_of_two_passes(power_normalize):
    """To twelve digits; a label without rows counts for nothing."""
    names = [label for label in "abcde" for _ in range(30)]
    rows = np.abs(clustered_embeddings(np.random.default_rng(0), names, 16))
    ids = np.repeat([0, 1, 2, 4, 5], 30)
    expected = fit_scatter(rows, ids, 6, power_normalize)
    taken = apply_power_normalization(rows, power_normalize).astype(np.float64)
    sums = np.zeros((6, 16))
    np.add.at(sums, ids, taken)
    found = scatter_of_sums(np.bincount(ids, minlength=6), RowSums(sums, taken.T @ taken), power_normalize)
    matrices = [(scatter.axes * scatter.variances) @ scatter.axes.T for scatter in (found, expected)]
    assert np.abs(matrices[0] - matrices[1]).max() <= 1e-12 * np.abs(matrices[1]).max()
    assert (found.freedom, found.power_normalize) == (expected.freedom, expected.power_normalize)
    np.testing.assert_allclose(found.means, expected.means, atol=1e-12)
    np.testing.assert_allclose(found.center, expected.center, atol=1e-7)


@pytest.mark.parametrize("count", [1, 400])
def test_labels_of_equal_rows_have_no_scatter(count):
    """The rounding of large sums is no variance: the metric is that of two passes, which changes nothing."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(count, 24))
    rows = np.repeat((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), 30, axis=0)
    ids, taken = np.repeat(np.arange(count), 30), rows.astype(np.float64)
    sums = np.zeros((count, 24))
    np.add.at(sums, ids, taken)
    found = scatter_of_sums(np.bincount(ids), RowSums(sums, taken.T @ taken), power_normalize=False)
    assert found.mean_variance == 0
    assert (
        found.metric(0.3).projection.tolist()
        == fit_scatter(rows[::30], ids[::30], count).metric(0.3).projection.tolist()
    )
