"""The within-class metric: its formula for any shape of the dataset, and its stored arrays."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from lmm_classifier.neighbors.metric import WithinClassMetric, fit_scatter
from lmm_classifier.testing import clustered_embeddings, random_embeddings


def dataset(count, dim, seed=0):
    rng = np.random.default_rng(seed)
    label_ids = np.arange(count) % 3
    return clustered_embeddings(rng, [str(label) for label in label_ids], dim, spread=1.0), label_ids


@pytest.mark.parametrize(("count", "dim"), [(200, 10), (20, 40)], ids=["many", "few"])
def test_distances_are_those_of_the_inverse_covariance(count, dim):
    """Squared distances in the metric are Mahalanobis distances for the shrunk pooled covariance."""
    embeddings, label_ids = dataset(count, dim)
    scatter = fit_scatter(embeddings, label_ids, 3)
    rows = embeddings.astype(np.float64)
    deviations = rows - np.stack([rows[label_ids == label].mean(axis=0) for label in range(3)])[label_ids]
    pooled = deviations.T @ deviations / (count - 3)
    inverse = np.linalg.inv(0.7 * pooled + 0.3 * np.trace(pooled) / dim * np.eye(dim))
    queries = random_embeddings(np.random.default_rng(1), 8, dim)
    in_metric = scatter.metric(0.3).whiten(queries).astype(np.float64)
    for first, second in [(0, 1), (2, 7)]:
        difference = queries[first].astype(np.float64) - queries[second]
        squared_distance = np.square(in_metric[first] - in_metric[second]).sum()
        assert squared_distance == pytest.approx(difference @ inverse @ difference, rel=1e-3)


def test_the_metric_is_that_of_discriminant_analysis():
    """Almost without shrinkage, the nearest mean is that of scikit-learn's linear discriminant analysis."""
    embeddings, label_ids = dataset(300, 8)
    queries, _ = dataset(60, 8, seed=5)
    metric = fit_scatter(embeddings, label_ids, 3).metric(1e-4)
    in_metric, examples = metric.whiten(queries), metric.whiten(embeddings)
    means = np.stack([examples[label_ids == label].mean(axis=0) for label in range(3)])
    nearest = np.square(in_metric[:, None] - means).sum(axis=2).argmin(axis=1)
    reference = LinearDiscriminantAnalysis(priors=[1 / 3] * 3).fit(embeddings, label_ids)
    assert (nearest == reference.predict(queries)).mean() >= 0.98


def test_the_square_root_is_taken_of_numbers_that_are_never_negative():
    """A negative number in the dataset forbids the square root; one in a later query does no harm."""
    embeddings, label_ids = dataset(30, 6)
    assert not fit_scatter(embeddings, label_ids, 3).power_normalize
    scatter = fit_scatter(np.abs(embeddings), label_ids, 3)
    assert scatter.power_normalize
    assert np.isfinite(scatter.metric(0.3).whiten(embeddings)).all()


@pytest.mark.parametrize("labels", [[0], [0, 1], [0, 0], [0, 1, 2], [0] * 9], ids=str)
def test_datasets_without_any_spread_within_labels(labels):
    """One example, one of each label, or one image several times: numbers stay finite and distinct."""
    label_ids = np.array(labels)
    embeddings = np.repeat(random_embeddings(np.random.default_rng(0), 1, 6), len(labels), axis=0)
    embeddings = embeddings if len(set(labels)) == 1 else random_embeddings(np.random.default_rng(0), len(labels), 6)
    metric = fit_scatter(embeddings, label_ids, max(labels) + 1).metric(0.3)
    in_metric = metric.whiten(random_embeddings(np.random.default_rng(1), 4, 6))
    assert np.isfinite(in_metric).all()
    assert len(np.unique(in_metric.round(5), axis=0)) == 4


def test_any_batch_and_a_rebuilt_metric_give_the_same_bits():
    """Any split gives the same bits, and so does a metric rebuilt from its arrays; wrong shapes are refused."""
    embeddings, label_ids = dataset(90, 33)
    metric = fit_scatter(embeddings, label_ids, 3).metric(0.6)
    whole = metric.whiten(embeddings)
    parts = [metric.whiten(embeddings[start : start + 7]) for start in range(0, 90, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(WithinClassMetric.from_arrays(metric.to_arrays()).whiten(embeddings), whole)
    with pytest.raises(ValueError, match="do not fit"):
        WithinClassMetric.from_arrays({**metric.to_arrays(), "center": np.zeros(3, np.float32)})
