"""Leave-one-out in closed form agrees with deleting the example and fitting again."""

import numpy as np
import pytest

from lmm_classifier.neighbors import leave_one_out as module
from lmm_classifier.neighbors.gallery import Gallery, ProjectedMetric
from lmm_classifier.neighbors.leave_one_out import Downdate, LeaveOneOut
from lmm_classifier.neighbors.metric import apply_power_normalization, fit_scatter, gallery_in_metric
from lmm_classifier.testing import clustered_embeddings, random_embeddings


def dataset(count=40, dim=12, labels=4, seed=0, positive=False):
    rng = np.random.default_rng(seed)
    label_ids = np.arange(count) % labels
    rows = clustered_embeddings(rng, [str(label) for label in label_ids], dim, spread=1.0)
    return (np.abs(rows) if positive else rows), label_ids


def every(leave_one_out):
    return [(row, block, place) for rows, block in leave_one_out.blocks(size=7) for place, row in enumerate(rows)]


def by_deleting(embeddings, label_ids, labels, row, shrinkage):
    """Cosines to means, squared distances and cosines to rows, straight from the definition."""
    scatter = fit_scatter(embeddings, label_ids, labels)  # square root, freedom and unit of the shrinkage stay
    rest = np.arange(len(embeddings)) != row
    z = apply_power_normalization(embeddings, scatter.power_normalize).astype(np.float64)
    center = z[rest].mean(axis=0)
    query, rows, other_ids = z[row] - center, z[rest] - center, label_ids[rest]
    means = np.stack([rows[other_ids == label].mean(axis=0) for label in range(labels)])
    deviations = rows - means[other_ids]
    covariance = (1 - shrinkage) * deviations.T @ deviations / scatter.freedom
    covariance += shrinkage * scatter.mean_variance * np.eye(z.shape[1])
    metric = np.linalg.inv(covariance)

    def cosines(vectors):
        norms = np.sqrt(np.einsum("nd,de,ne->n", vectors, metric, vectors) * (query @ metric @ query))
        return vectors @ metric @ query / norms

    difference = means - query
    return cosines(means), np.einsum("nd,de,ne->n", difference, metric, difference), cosines(rows)


@pytest.mark.parametrize("shrinkage", [0.03, 0.3, 0.9])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize(("count", "dim"), [(40, 12), (17, 30)], ids=["many", "few"])
def test_in_the_metric(shrinkage, positive, count, dim):
    """Means, distances and similarities agree with deleting, for every example and both ways to find the axes."""
    embeddings, label_ids = dataset(count, dim, positive=positive)
    scatter = fit_scatter(embeddings, label_ids, 4)
    metric = scatter.metric(shrinkage)
    gallery = gallery_in_metric(metric, Gallery(embeddings, label_ids, 4))
    leave_one_out = LeaveOneOut(gallery, (1 - shrinkage) / scatter.freedom, centered=True)
    for row, block, place in every(leave_one_out):
        cosines, distances, similarities = by_deleting(embeddings, label_ids, 4, row, shrinkage)
        np.testing.assert_allclose(block.mean_cosines()[place], cosines, atol=2e-4)
        np.testing.assert_allclose(block.square_distances()[place], distances, rtol=2e-3)
        np.testing.assert_allclose(np.delete(block.similarities[place], row), similarities, atol=2e-4)


def test_without_a_metric():
    """In the encoder's own space it agrees with a comparison that leaves rows out."""
    embeddings, label_ids = dataset()
    gallery = Gallery(embeddings, label_ids, 4)
    direct = gallery.compare(embeddings, [np.array([row]) for row in range(40)])
    for row, block, place in every(LeaveOneOut(gallery)):
        np.testing.assert_allclose(block.mean_cosines()[place], direct.mean_cosines()[row], atol=1e-5)
        np.testing.assert_allclose(block.square_distances()[place], direct.square_distances()[row], atol=1e-5)
        np.testing.assert_allclose(block.top_k_mean(5)[place], direct.top_k_mean(5)[row], atol=1e-5)
        rows, cosines = block.nearest(place, 4)
        expected_rows, expected = direct.nearest(row, 4)
        np.testing.assert_array_equal(rows, expected_rows)
        np.testing.assert_allclose(cosines, expected, atol=1e-6)
        np.testing.assert_allclose(block.best_label()[place], direct.best_label()[row], atol=1e-6)


def test_labels_of_few_examples():
    """Fewer others than the means and neighbors ask for: the others alone count, and -1 stands for missing rows."""
    label_ids = np.repeat([0, 1, 3, 4, 5], [1, 2, 3, 5, 6])  # label 2 has no example
    embeddings = random_embeddings(np.random.default_rng(2), 17, 6)
    gallery = Gallery(embeddings, label_ids, 6)
    direct = gallery.compare(embeddings, [np.array([row]) for row in range(17)])
    expected_rows, expected_cosines = direct.nearest_each(17)
    for row, block, place in every(LeaveOneOut(gallery)):
        for m in (1, 2, 5):
            np.testing.assert_allclose(block.top_k_mean(m)[place], direct.top_k_mean(m)[row], atol=1e-6)
        rows, cosines = block.nearest_each(30)
        assert rows[place].tolist() == expected_rows[row].tolist()
        assert (rows[place, -1], cosines[place, -1]) == (-1, -np.inf)
        np.testing.assert_allclose(cosines[place], expected_cosines[row], atol=1e-6)
        some = np.array([row, 3, 9, 16])
        nearest, _ = block.nearest_among([(place, some)], 6)
        assert set(nearest[0].tolist()) == {3, 9, 16, -1} - {row}
        np.testing.assert_allclose(block.mean_cosines()[place], direct.mean_cosines()[row], atol=1e-5)
        np.testing.assert_allclose(block.square_distances()[place], direct.square_distances()[row], atol=1e-5)


def test_equal_cosines_are_ordered_by_row():
    """Among copies the first rows are the nearest, however many there are."""
    embeddings = np.repeat(random_embeddings(np.random.default_rng(3), 2, 4), 6, axis=0)
    gallery = Gallery(embeddings, np.repeat([0, 1], 6), 2)
    for row, block, place in every(LeaveOneOut(gallery)):
        own = [number for number in range(6 * (row // 6), 6 * (row // 6) + 6) if number != row]
        for k in (1, 3, 5):
            assert block.nearest_each(k)[0][place].tolist() == own[:k]


@pytest.mark.parametrize(("most", "sizes"), [(2000, [7] * 5 + [5]), (100, [2] * 20), (39, [1] * 40)])
def test_blocks_hold_a_bounded_number_of_similarities(monkeypatch, most, sizes):
    """As many examples at a time as asked for and as fit; at least one, and all of them in the end."""
    monkeypatch.setattr("lmm_classifier.neighbors.leave_one_out._MOST_AT_ONCE", most)
    embeddings, label_ids = dataset()
    blocks = list(LeaveOneOut(Gallery(embeddings, label_ids, 4)).blocks(size=7))
    assert [len(rows) for rows, _ in blocks] == [len(block) for _, block in blocks] == sizes
    assert np.concatenate([rows for rows, _ in blocks]).tolist() == list(range(40))
    some = list(LeaveOneOut(Gallery(embeddings, label_ids, 4)).blocks(np.array([5, 3, 30])))
    assert np.concatenate([rows for rows, _ in some]).tolist() == [5, 3, 30]


def test_parts_of_the_rows_join(monkeypatch):
    """Similarities that are computed in parts of the columns are the same."""
    embeddings, label_ids = dataset()
    scatter = fit_scatter(embeddings, label_ids, 4)
    gallery = gallery_in_metric(scatter.metric(0.3), Gallery(embeddings, label_ids, 4))

    def similarities():
        ((_, block),) = LeaveOneOut(gallery, 0.7 / scatter.freedom, centered=True).blocks()
        return block.similarities

    expected = similarities()
    monkeypatch.setattr("lmm_classifier.neighbors.leave_one_out._COLUMNS", 7)
    np.testing.assert_allclose(similarities(), expected, atol=1e-6)


def test_along_the_axes_the_means_are_the_same():
    """The scatter alone, without a matrix of rows, gives the same cosines and distances."""
    embeddings, label_ids = dataset()
    scatter = fit_scatter(embeddings, label_ids, 4)
    gallery, scale = Gallery(embeddings, label_ids, 4), scatter.scale(0.3)
    downdate = Downdate.of(gallery.counts, scatter.means_along * scale, 0.7 / scatter.freedom, centered=True)
    cosines, distances = downdate.to_means(scatter.coordinates(embeddings) * scale, label_ids)
    in_metric = gallery_in_metric(scatter.metric(0.3), gallery)
    for row, block, place in every(LeaveOneOut(in_metric, 0.7 / scatter.freedom, centered=True)):
        np.testing.assert_allclose(cosines[row], block.mean_cosines()[place], atol=1e-5)
        np.testing.assert_allclose(distances[row], block.square_distances()[place], rtol=1e-4)


def test_a_projected_metric_agrees_with_mapped_rows():
    """A gallery that applies its metric to the queries agrees with a gallery that stores the mapped rows."""
    embeddings, label_ids = dataset()
    scatter = fit_scatter(embeddings, label_ids, 4, power_normalize=False)
    metric, gallery = scatter.metric(0.3), Gallery(embeddings, label_ids, 4)
    mapped = gallery_in_metric(metric, gallery)
    projected = gallery.with_metric_in_query(ProjectedMetric(metric.center, metric.projection, mapped.norms))
    expected, actual = (every(LeaveOneOut(each, 0.7 / scatter.freedom, centered=True)) for each in (mapped, projected))
    for (_, expected_block, place), (_, block, _) in zip(expected, actual):
        np.testing.assert_allclose(block.mean_cosines()[place], expected_block.mean_cosines()[place], atol=1e-5)
        np.testing.assert_allclose(block.similarities[place], expected_block.similarities[place], atol=1e-5)


def test_without_its_only_example_a_label_has_no_score():
    """The own label has no score once its only example is left out; the other labels have scores."""
    embeddings, label_ids = random_embeddings(np.random.default_rng(1), 7, 5), np.array([0, 0, 0, 1, 1, 1, 2])
    scatter = fit_scatter(embeddings, label_ids, 3)
    in_metric = gallery_in_metric(scatter.metric(0.3), Gallery(embeddings, label_ids, 3))
    leave_one_out = LeaveOneOut(in_metric, 0.7 / scatter.freedom, centered=True)
    (_, block), *_ = leave_one_out.blocks(np.array([6]))
    assert block.mean_cosines()[0, 2] == -np.inf
    assert block.square_distances()[0, 2] == np.inf
    assert block.top_k_mean(5)[0, 2] == -np.inf
    assert np.isfinite(block.mean_cosines()[0, :2]).all()


def test_by_default_512_examples_and_268_mb_of_similarities_are_held_at_a_time():
    """And 8,192 rows are compared at a time."""
    gallery = Gallery(random_embeddings(np.random.default_rng(0), 600, 3), np.zeros(600, np.int64), 1)
    assert [len(rows) for rows, _ in LeaveOneOut(gallery).blocks()] == [512, 88]
    assert (4 * module._MOST_AT_ONCE, module._COLUMNS) == (268_435_456, 8192)


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("m", [1, 2, 5])
def test_means_of_labels_whose_rows_follow_each_other_or_not(in_order, m):
    """The mean of the best similarities of each label, asked for once or again."""
    embeddings, label_ids = dataset(count=30)
    label_ids = np.sort(label_ids) if in_order else label_ids
    for _, block, place in every(LeaveOneOut(Gallery(embeddings, label_ids, 4))):
        for label in range(4):
            best = np.sort(block.similarities[place, label_ids == label])
            best = best[np.isfinite(best)][-m:].astype(np.float64)
            assert block.top_k_mean(m)[place, label] == pytest.approx(best.mean(), rel=1e-12)
        assert block.top_k_mean(m) is block.top_k_mean(m)
