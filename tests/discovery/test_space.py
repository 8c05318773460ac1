"""The space of discovery: the within-class metric, strongly shrunk, for images that nobody labeled."""

import numpy as np

from lmm_classifier.discovery.space import DiscoverySpace
from lmm_classifier.neighbors.gallery import directions
from lmm_classifier.neighbors.metric import fit_scatter


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_it_is_the_within_class_metric():
    """The same unit vectors as of the metric that answers, at the shrinkage of discovery."""
    rng = np.random.default_rng(0)
    for count in (12, 60):  # fewer and more rows than numbers in a row
        rows, ids = unit(rng.normal(size=(count, 20))), rng.integers(0, 3, count)
        space = DiscoverySpace.of_examples(rows, ids, 3)
        metric = fit_scatter(rows, ids, 3).metric(0.9)
        new = unit(rng.normal(size=(7, 20)))
        np.testing.assert_allclose(space.map(new), directions(metric.whiten(new))[0], atol=2e-5)


def test_one_example_per_label_says_nothing_about_differences():
    """Then only the mean is subtracted."""
    rows = unit(np.random.default_rng(1).normal(size=(3, 5)))
    space = DiscoverySpace.of_examples(rows, np.arange(3), 3)
    np.testing.assert_allclose(space.map(rows), directions(rows - rows.mean(axis=0))[0], atol=1e-5)


def test_without_labels_the_mean_is_subtracted():
    """Positive numbers are power-normalized, as in the metric."""
    rows = unit(np.random.default_rng(2).random((9, 4)))
    centered = unit(np.sqrt(rows)) - unit(np.sqrt(rows)).mean(axis=0)
    np.testing.assert_allclose(DiscoverySpace.of_unlabeled(rows).map(rows), unit(centered), atol=1e-5)
    assert DiscoverySpace.of_unlabeled(rows).map(rows[:0]).shape == (0, 4)
