"""Leave-one-out in closed form is what deleting the example and fitting again gives."""

import numpy as np
import pytest

from lmm_classifier.neighbors.gallery import Fold, Gallery
from lmm_classifier.neighbors.leave_one_out import LeaveOneOut, Removal
from lmm_classifier.neighbors.metric import fit_scatter, prepared, whitened
from lmm_classifier.testing import clustered_rows, unit_rows


def corpus(count=40, dim=12, labels=4, seed=0, positive=False):
    rng = np.random.default_rng(seed)
    label_ids = np.arange(count) % labels
    rows = clustered_rows(rng, [str(label) for label in label_ids], dim, spread=1.0)
    return (np.abs(rows) if positive else rows), label_ids


def every(leave_one_out):
    return [(row, block, place) for rows, block in leave_one_out.blocks(size=7) for place, row in enumerate(rows)]


def by_deleting(units, label_ids, labels, row, shrinkage):
    """Cosines to means, squared distances and cosines to rows, straight from the definition."""
    scatter = fit_scatter(units, label_ids, labels)  # for what stays: root, freedom, unit of the shrinkage
    rest = np.arange(len(units)) != row
    z = prepared(units, scatter.root).astype(np.float64)
    centre = z[rest].mean(axis=0)
    query, rows, own = z[row] - centre, z[rest] - centre, label_ids[rest]
    means = np.stack([rows[own == label].mean(axis=0) for label in range(labels)])
    deviations = rows - means[own]
    covariance = (1 - shrinkage) * deviations.T @ deviations / scatter.freedom
    covariance += shrinkage * scatter.mean_variance * np.eye(z.shape[1])
    metric = np.linalg.inv(covariance)

    def cosines(other):
        lengths = np.sqrt(np.einsum("nd,de,ne->n", other, metric, other) * (query @ metric @ query))
        return other @ metric @ query / lengths

    difference = means - query
    return cosines(means), np.einsum("nd,de,ne->n", difference, metric, difference), cosines(rows)


@pytest.mark.parametrize("shrinkage", [0.03, 0.3, 0.9])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize(("count", "dim"), [(40, 12), (17, 30)], ids=["many", "few"])
def test_in_the_metric(shrinkage, positive, count, dim):
    """Means, distances and neighbours agree with deleting, for every example, by either way to the axes."""
    units, label_ids = corpus(count, dim, positive=positive)
    scatter = fit_scatter(units, label_ids, 4)
    metric = scatter.metric(shrinkage)
    left_out = LeaveOneOut(
        whitened(metric, Gallery(units, label_ids, 4)), (1 - shrinkage) / scatter.freedom, centred=True
    )
    for row, block, place in every(left_out):
        cosines, distances, near = by_deleting(units, label_ids, 4, row, shrinkage)
        np.testing.assert_allclose(block.mean_cosines()[place], cosines, atol=2e-4)
        np.testing.assert_allclose(block.square_distances()[place], distances, rtol=2e-3)
        np.testing.assert_allclose(np.delete(block.similarities[place], row), near, atol=2e-4)


def test_without_a_metric():
    """In the encoder's own space it is the comparison that leaves rows out."""
    units, label_ids = corpus()
    gallery = Gallery(units, label_ids, 4)
    direct = gallery.compare(units, [np.array([row]) for row in range(40)])
    for row, block, place in every(LeaveOneOut(gallery)):
        np.testing.assert_allclose(block.mean_cosines()[place], direct.mean_cosines()[row], atol=1e-5)
        np.testing.assert_allclose(block.square_distances()[place], direct.square_distances()[row], atol=1e-5)
        np.testing.assert_allclose(block.top_mean(5)[place], direct.top_mean(5)[row], atol=1e-5)
        rows, cosines = block.nearest(place, 4)
        expected_rows, expected = direct.nearest(row, 4)
        np.testing.assert_array_equal(rows, expected_rows)
        np.testing.assert_allclose(cosines, expected, atol=1e-6)


def test_along_the_axes_the_means_are_the_same():
    """Without a matrix of rows, from what the scatter knows, come the same numbers."""
    units, label_ids = corpus()
    scatter = fit_scatter(units, label_ids, 4)
    gallery, scale = Gallery(units, label_ids, 4), scatter.scale(0.3)
    removal = Removal.of(gallery.counts, scatter.means_along * scale, 0.7 / scatter.freedom, centred=True)
    cosines, distances = removal.to_means(scatter.coordinates(units) * scale, label_ids)
    left_out = LeaveOneOut(whitened(scatter.metric(0.3), gallery), 0.7 / scatter.freedom, centred=True)
    for row, block, place in every(left_out):
        np.testing.assert_allclose(cosines[row], block.mean_cosines()[place], atol=1e-5)
        np.testing.assert_allclose(distances[row], block.square_distances()[place], rtol=1e-4)


def test_folded():
    """A gallery that folds its metric into the queries says the same as one that keeps the rows that come out."""
    units, label_ids = corpus()
    scatter = fit_scatter(units, label_ids, 4, root=False)
    metric, gallery = scatter.metric(0.3), Gallery(units, label_ids, 4)
    rows = whitened(metric, gallery)
    folded = Gallery(units, label_ids, 4, fold=Fold(metric.centre, metric.projection, rows.lengths))
    both = [LeaveOneOut(one, 0.7 / scatter.freedom, centred=True) for one in (rows, folded)]
    for (_, one, place), (_, other, _) in zip(*map(every, both)):
        np.testing.assert_allclose(other.mean_cosines()[place], one.mean_cosines()[place], atol=1e-5)
        np.testing.assert_allclose(other.similarities[place], one.similarities[place], atol=1e-5)


def test_the_only_example_of_a_label_leaves_nothing():
    """Its own label has no score once it is left out, and the others do not mind."""
    units, label_ids = unit_rows(np.random.default_rng(1), 7, 5), np.array([0, 0, 0, 1, 1, 1, 2])
    scatter = fit_scatter(units, label_ids, 3)
    left_out = LeaveOneOut(
        whitened(scatter.metric(0.3), Gallery(units, label_ids, 3)), 0.7 / scatter.freedom, centred=True
    )
    (_, block), *_ = left_out.blocks(np.array([6]))
    assert block.mean_cosines()[0, 2] == -np.inf
    assert block.square_distances()[0, 2] == np.inf
    assert block.top_mean(5)[0, 2] == -np.inf
    assert np.isfinite(block.mean_cosines()[0, :2]).all()
