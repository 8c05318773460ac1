"""The within-class metric: its formula, whatever the shape of the corpus, and its state."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from lmm_classifier.neighbors.metric import WithinClassMetric, fit_scatter
from lmm_classifier.testing import clustered_rows, unit_rows


def corpus(count, dim, seed=0):
    rng = np.random.default_rng(seed)
    label_ids = np.arange(count) % 3
    return clustered_rows(rng, [str(label) for label in label_ids], dim, spread=1.0), label_ids


@pytest.mark.parametrize(("count", "dim"), [(200, 10), (20, 40)], ids=["many", "few"])
def test_distances_are_those_of_the_inverse_covariance(count, dim):
    """Squared distances of whitened rows are Mahalanobis' under the shrunk pooled covariance."""
    units, label_ids = corpus(count, dim)
    scatter = fit_scatter(units, label_ids, 3)
    rows = units.astype(np.float64)
    deviations = rows - np.stack([rows[label_ids == label].mean(axis=0) for label in range(3)])[label_ids]
    pooled = deviations.T @ deviations / (count - 3)
    inverse = np.linalg.inv(0.7 * pooled + 0.3 * np.trace(pooled) / dim * np.eye(dim))
    new = unit_rows(np.random.default_rng(1), 8, dim)
    white = scatter.metric(0.3).whiten(new).astype(np.float64)
    for one, other in [(0, 1), (2, 7)]:
        difference = new[one].astype(np.float64) - new[other]
        got = np.square(white[one] - white[other]).sum()
        assert got == pytest.approx(difference @ inverse @ difference, rel=1e-3)


def test_the_metric_is_that_of_discriminant_analysis():
    """With hardly any shrinkage the nearest mean is scikit-learn's linear discriminant analysis of equal priors."""
    units, label_ids = corpus(300, 8)
    new, _ = corpus(60, 8, seed=5)
    metric = fit_scatter(units, label_ids, 3).metric(1e-4)
    white, means = metric.whiten(new), metric.whiten(units)
    means = np.stack([means[label_ids == label].mean(axis=0) for label in range(3)])
    nearest = np.square(white[:, None] - means).sum(axis=2).argmin(axis=1)
    reference = LinearDiscriminantAnalysis(priors=[1 / 3] * 3).fit(units, label_ids)
    assert (nearest == reference.predict(new)).mean() >= 0.98


def test_the_square_root_is_taken_of_numbers_that_are_never_negative():
    """A sign in the corpus forbids the root; a negative number in a later query does no harm."""
    units, label_ids = corpus(30, 6)
    assert not fit_scatter(units, label_ids, 3).root
    scatter = fit_scatter(np.abs(units), label_ids, 3)
    assert scatter.root
    assert np.isfinite(scatter.metric(0.3).whiten(units)).all()


@pytest.mark.parametrize("labels", [[0], [0, 1], [0, 0], [0, 1, 2], [0] * 9], ids=str)
def test_corpora_that_tell_nothing_of_the_spread(labels):
    """One example, one of each label, the same picture again and again: numbers stay finite and distinct."""
    label_ids = np.array(labels)
    units = np.repeat(unit_rows(np.random.default_rng(0), 1, 6), len(labels), axis=0)
    units = units if len(set(labels)) == 1 else unit_rows(np.random.default_rng(0), len(labels), 6)
    metric = fit_scatter(units, label_ids, max(labels) + 1).metric(0.3)
    white = metric.whiten(unit_rows(np.random.default_rng(1), 4, 6))
    assert np.isfinite(white).all()
    assert len(np.unique(white.round(5), axis=0)) == 4


def test_batch_does_not_matter_and_state_comes_back():
    """Any split gives the same bits, and so does a metric rebuilt from its state."""
    units, label_ids = corpus(90, 33)
    metric = fit_scatter(units, label_ids, 3).metric(0.6)
    whole = metric.whiten(units)
    parts = [metric.whiten(units[start : start + 7]) for start in range(0, 90, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(WithinClassMetric.restore(metric.state()).whiten(units), whole)
    with pytest.raises(ValueError, match="do not fit"):
        WithinClassMetric.restore({**metric.state(), "centre": np.zeros(3, np.float32)})
