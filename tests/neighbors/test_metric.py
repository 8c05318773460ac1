"""The within-class metric: its formula for any shape of the dataset, and its stored arrays."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from lmm_classifier.neighbors import metric as module
from lmm_classifier.neighbors.gallery import Gallery, directions
from lmm_classifier.neighbors.metric import (
    WithinClassMetric,
    apply_power_normalization,
    fit_scatter,
    gallery_in_metric,
    is_projected,
    norms_in,
)
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


def by_definition(embeddings, label_ids, shrinkage, power_normalize):
    """The rows z A^(1/2) by an explicit inverse and its square root, and z itself."""
    rows = embeddings.astype(np.float64)
    if power_normalize:
        rows = np.sign(rows) * np.sqrt(np.abs(rows))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    used = np.unique(label_ids)
    means = {label: rows[label_ids == label].mean(axis=0) for label in used}
    deviations = rows - np.stack([means[label] for label in label_ids])
    pooled = deviations.T @ deviations / max(len(rows) - len(used), 1)
    dim = rows.shape[1]
    covariance = (1 - shrinkage) * pooled + shrinkage * np.trace(pooled) / dim * np.eye(dim)
    return (rows - rows.mean(axis=0)) @ sqrtm(np.linalg.inv(covariance)).real


@pytest.mark.parametrize("shrinkage", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("power_normalize", [True, False])
@pytest.mark.parametrize(("count", "dim"), [(60, 8), (12, 12), (9, 20), (2, 5)])
def test_the_rows_in_the_metric_are_those_of_its_definition(monkeypatch, shrinkage, power_normalize, count, dim):
    """By an explicit inverse, for more and fewer rows than numbers, in blocks, for labels of one and of no example."""
    monkeypatch.setattr(module, "_BLOCK", 7)
    embeddings, label_ids = dataset(count, dim)
    label_ids = np.where(count == 2, 0, label_ids)
    label_ids[-1] = 3 if count == 60 else label_ids[-1]  # one example has a label of its own
    scatter = fit_scatter(embeddings, label_ids, 4, power_normalize)
    expected = by_definition(embeddings, label_ids, shrinkage, power_normalize)
    found = scatter.metric(shrinkage).whiten(embeddings)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    # along the axes they are the same rows, up to a rotation; and so are the means of the labels
    along = scatter.coordinates(embeddings).astype(np.float64) * scatter.scale(shrinkage)
    np.testing.assert_allclose(along @ along.T, expected @ expected.T, atol=1e-3 * np.square(expected).max())
    means = scatter.means_along[np.unique(label_ids)] * scatter.scale(shrinkage)
    expected_means = np.stack([expected[label_ids == label].mean(axis=0) for label in np.unique(label_ids)])
    np.testing.assert_allclose(along @ means.T, expected @ expected_means.T, atol=1e-3 * np.square(expected).max())
    assert scatter.freedom == max(count - len(np.unique(label_ids)), 1)


def test_power_normalization_by_hand():
    """The signed square root, normalized; a row of zeros stays zero, and without it nothing changes."""
    rows = np.array([[0.09, -0.16, 0], [0, 0, 0]], np.float32)
    found = apply_power_normalization(rows, True)
    np.testing.assert_allclose(found, [[0.6, -0.8, 0], [0, 0, 0]], atol=1e-6)
    assert apply_power_normalization(rows, False) is rows


def test_zeros_do_not_forbid_the_square_root():
    """Only a negative number does, in whatever block it stands."""
    embeddings, label_ids = dataset(30, 6)
    embeddings = np.abs(embeddings)
    embeddings[3, 2] = 0
    assert fit_scatter(embeddings, label_ids, 3).power_normalize
    embeddings[29, 5] = -1e-6
    assert not fit_scatter(embeddings, label_ids, 3).power_normalize


def test_metrics_are_compared_bit_by_bit():
    """A metric equals its copy, and none with another center, projection, shrinkage or square root."""
    embeddings, label_ids = dataset(30, 6)
    metric = fit_scatter(embeddings, label_ids, 3).metric(0.3)
    assert metric.equals(metric)
    arrays = metric.to_arrays()
    assert metric.equals(WithinClassMetric.from_arrays(arrays))
    assert (metric.shrinkage, WithinClassMetric.from_arrays(arrays).shrinkage) == (0.3, 0.3)
    for name in arrays:
        other = dict(arrays)
        other[name] = ~arrays[name] if arrays[name].dtype == bool else np.nextafter(arrays[name], 9)
        assert not metric.equals(WithinClassMetric.from_arrays(other))


@pytest.fixture
def mapping(monkeypatch):
    """A gallery, its metric, and a list that grows by the number of rows that are mapped."""
    embeddings, label_ids = dataset(30, 6)
    metric, mapped = fit_scatter(embeddings, label_ids, 3).metric(0.3), []
    monkeypatch.setattr(module, "directions", lambda rows: mapped.append(len(rows)) or directions(rows))
    return Gallery(embeddings, label_ids, 3), metric, mapped


def test_rows_that_a_former_gallery_has_are_not_mapped_again(mapping, monkeypatch):
    """The result is the same bits; new rows alone are mapped, in blocks."""
    gallery, metric, mapped = mapping
    complete = gallery_in_metric(metric, gallery)
    assert mapped == [30]
    order = np.random.default_rng(0).permutation(30)
    former_rows = np.where(np.arange(30) % 3, np.argsort(order), -1)
    former = Gallery(complete.embeddings[order], gallery.label_ids[order], 3, complete.norms[order])
    mapped.clear()
    monkeypatch.setattr(module, "_BLOCK", 4)
    found = gallery_in_metric(metric, gallery, None, former, former_rows)
    assert mapped == [4, 4, 2]
    np.testing.assert_array_equal(found.embeddings, complete.embeddings)
    np.testing.assert_array_equal(found.norms, complete.norms)
    monkeypatch.setattr(module, "PROJECT_FROM", 30)
    projected = gallery_in_metric(metric, gallery)
    monkeypatch.setattr(module, "PROJECT_FROM", 31)
    mapped.clear()
    again = gallery_in_metric(metric, gallery, None, projected, range(30))  # which has no mapped rows
    assert sum(mapped) == 30
    np.testing.assert_array_equal(again.embeddings, complete.embeddings)


def test_norms_that_are_known_are_not_computed_again(mapping, monkeypatch):
    """A large gallery takes them as they are; where one is missing, it alone is computed."""
    gallery, metric, mapped = mapping
    expected = directions(metric.whiten(gallery.embeddings))[1]
    monkeypatch.setattr(module, "_BLOCK", 4)
    np.testing.assert_allclose(norms_in(metric, gallery), expected)
    assert mapped == [4] * 7 + [2]
    mapped.clear()
    known = np.where(np.arange(30) < 25, expected, np.nan)
    np.testing.assert_allclose(norms_in(metric, gallery, known), expected)
    assert mapped == [4, 1]
    assert np.isnan(known[25:]).all()  # the caller's stay as they are
    monkeypatch.setattr(module, "PROJECT_FROM", 30)
    mapped.clear()
    given = np.arange(1.0, 31)
    assert gallery_in_metric(metric, gallery, given).projected.norms is given
    assert mapped == []
    np.testing.assert_allclose(gallery_in_metric(metric, gallery).projected.norms, expected)


def test_a_metric_is_projected_in_large_galleries_without_a_square_root(mapping, monkeypatch):
    """From 50,000 rows on; a square root of the queries would not do."""
    gallery, metric, _ = mapping
    assert module.PROJECT_FROM == 50_000
    assert not is_projected(metric, gallery)
    monkeypatch.setattr(module, "PROJECT_FROM", 30)
    assert is_projected(metric, gallery)
    assert not is_projected(fit_scatter(gallery.embeddings, gallery.label_ids, 3, True).metric(0.3), gallery)
    monkeypatch.setattr(module, "PROJECT_FROM", 31)
    assert not is_projected(metric, gallery)


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


def test_without_any_spread_the_metric_only_centers():
    """Where no two images of a label differ, the scatter is unknown, and nothing is scaled."""
    embeddings = random_embeddings(np.random.default_rng(0), 3, 6)
    scatter = fit_scatter(embeddings, np.arange(3), 3, False)
    np.testing.assert_allclose(scatter.metric(0.3).whiten(embeddings), embeddings - embeddings.mean(axis=0), atol=1e-6)
    assert scatter.scale(0.3).tolist() == [1.0] * len(scatter.variances)


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
