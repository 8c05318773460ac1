"""A gallery: its means, sums and norms by hand, and a projected metric against mapped rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.neighbors import gallery as module
from lmm_classifier.neighbors.gallery import Gallery, ProjectedMetric, directions
from lmm_classifier.testing import random_embeddings

LABEL_IDS = np.array([2, 0, 0, 2, 3, 0])  # label 1 has no row


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32) * 3


def test_means_sums_and_norms_are_those_of_the_rows_before_normalization(rows):
    """A label without rows has the mean 0."""
    gallery = Gallery.of(rows, LABEL_IDS, 4)
    exact = rows.astype(float)
    for label in (0, 2, 3):
        np.testing.assert_allclose(gallery.means[label], exact[label == LABEL_IDS].mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(gallery.means[1], 0)
    np.testing.assert_allclose(gallery.squares, np.square(exact).sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(gallery.rows(np.array([4, 1])), exact[[4, 1]], rtol=1e-6)
    np.testing.assert_allclose(gallery.sum(np.array([0, 2, 5]), block=2), exact[[0, 2, 5]].sum(axis=0), rtol=1e-6)
    assert (gallery.labels, gallery.counts.tolist()) == (4, [3, 0, 2, 1])
    np.testing.assert_array_equal(Gallery(gallery.embeddings, LABEL_IDS, 4).squares, 1)


@pytest.mark.long
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), min_size=1, max_size=12), st.randoms())
def test_sums_that_a_former_gallery_has_are_taken_bit_for_bit(changes, random):
    """Whichever rows came, went, moved to another label or to another place."""
    matrix = np.random.default_rng(1).normal(size=(len(changes), 7)).astype(np.float32)
    former_labels, labels = (np.array([change[place] for change in changes]) for place in (0, 1))
    kept = np.flatnonzero([change[2] for change in changes])
    order = np.array(random.sample(range(len(changes)), len(changes)))
    former = Gallery.of(matrix[kept], former_labels[kept], 4)
    row_of = {row: place for place, row in enumerate(kept.tolist())}
    new, expected = (Gallery.of(matrix[order], labels[order], 4) for _ in range(2))
    new.take_sums(former, [row_of.get(row, -1) for row in order.tolist()])
    assert "_sums" not in vars(new)  # the former gallery has none
    assert len(former.means) == 4
    new.take_sums(former, [row_of.get(row, -1) for row in order.tolist()])
    np.testing.assert_array_equal(vars(new)["_sums"], expected._sums)


def test_columns_are_in_the_order_of_the_labels(rows):
    """Whether the rows are sorted by label or not, the nearest row is found by its own number."""
    for label_ids in (LABEL_IDS, np.sort(LABEL_IDS)):
        gallery = Gallery.of(rows, label_ids, 4)
        assert gallery.compare(rows).nearest_each(1)[0][:, 0].tolist() == list(range(6))


def test_products_are_those_with_the_rows_before_normalization(rows):
    """For any part of the rows."""
    gallery, left = Gallery.of(rows, LABEL_IDS, 4), np.random.default_rng(1).normal(size=(3, 5))
    np.testing.assert_allclose(gallery.products(left)(slice(1, 5)), left @ rows[1:5].T, rtol=1e-4, atol=1e-5)
    normalized = Gallery(gallery.embeddings, LABEL_IDS, 4).products(left)(slice(None))
    np.testing.assert_allclose(normalized, left @ gallery.embeddings.T, rtol=1e-4, atol=1e-5)


def test_queries_are_compared_with_means_and_rows_by_hand(rows):
    """Cosines and squared distances, for queries of any norm; a label without rows has neither."""
    gallery, queries = Gallery.of(rows, LABEL_IDS, 4), np.random.default_rng(2).normal(size=(3, 5)).astype(np.float32)
    compared = gallery.compare(queries)
    for query, number in zip(queries.astype(float), range(3)):
        for label in (0, 2, 3):
            mean = rows.astype(float)[label == LABEL_IDS].mean(axis=0)
            cosine = query @ mean / np.linalg.norm(query) / np.linalg.norm(mean)
            assert compared.mean_cosines()[number, label] == pytest.approx(cosine, abs=1e-6)
            distance = np.square(query - mean).sum()
            assert compared.square_distances()[number, label] == pytest.approx(distance, rel=1e-5)
    assert np.isneginf(compared.mean_cosines()[:, 1]).all()
    assert np.isposinf(compared.square_distances()[:, 1]).all()


def test_without_rows_left_out_the_means_are_those_of_the_others(rows):
    """A row that is named twice is left out once; a label without its rows has no score."""
    gallery = Gallery.of(rows, LABEL_IDS, 4)
    compared = gallery.compare(rows[:2], [np.array([0, 0, 1]), np.array([4])])
    exact = rows.astype(float)
    distances = [np.square(exact[0] - exact[[2, 5]].mean(axis=0)).sum(), np.square(exact[0] - exact[3]).sum()]
    np.testing.assert_allclose(compared.square_distances()[0, [0, 2]], distances, rtol=1e-5)
    assert np.isneginf(compared.mean_cosines()[1, 3])
    assert np.isposinf(compared.square_distances()[1, 3])
    assert np.isfinite(compared.mean_cosines()[0, 3])


def test_a_projected_metric_by_hand(rows):
    """Z = (x - center) P: mapped rows, forms, offsets, products and means."""
    rng = np.random.default_rng(3)
    embeddings, _ = directions(rows)
    center, projection = rng.normal(size=5).astype(np.float32), rng.normal(size=(5, 5)).astype(np.float32)
    mapped = (embeddings.astype(float) - center) @ projection
    metric = ProjectedMetric(center, projection, np.linalg.norm(mapped, axis=1))
    gallery = Gallery(embeddings, LABEL_IDS, 4).with_metric_in_query(metric)
    np.testing.assert_allclose(metric.mapped(embeddings.astype(float)), mapped, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(gallery.rows(np.array([3])), mapped[[3]], rtol=1e-6, atol=1e-7)
    queries = rng.normal(size=(2, 5))
    forms, offsets = metric.forms_and_offsets(queries)
    np.testing.assert_allclose(forms, queries @ projection.T, rtol=1e-6)
    np.testing.assert_allclose(offsets, forms @ center, rtol=1e-6)
    np.testing.assert_allclose(gallery.products(queries)(slice(None)), queries @ mapped.T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gallery.squares, np.square(mapped).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(gallery.means[2], mapped[LABEL_IDS == 2].mean(axis=0), rtol=1e-5)
    cosines = gallery.compare(queries.astype(np.float32)).nearest_each(6)[1]
    expected = queries @ mapped.T / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(mapped, axis=1)
    np.testing.assert_allclose(cosines, -np.sort(-expected, axis=1), atol=1e-6)
    assert ProjectedMetric(center, projection, np.array([0.0, 2.0])).inverse_norms.tolist() == [0, 0.5]


def test_tolerances_cover_the_errors_of_float32():
    """The nearest rows are found although a form of large norm makes float32 err in proportion."""
    rng = np.random.default_rng(4)
    embeddings = random_embeddings(rng, 500, 8)
    embeddings[1:] = directions(embeddings[:1] + 1e-3 * rng.normal(size=(499, 8)).astype(np.float32))[0]
    center = embeddings.mean(axis=0)
    mapped = (embeddings.astype(float) - center) * 1e3
    metric = ProjectedMetric(center, np.float32(1e3) * np.eye(8, dtype=np.float32), np.linalg.norm(mapped, axis=1))
    gallery = Gallery(embeddings, np.zeros(500, np.int64), 1).with_metric_in_query(metric)
    queries = rng.normal(size=(20, 8)).astype(np.float32)
    rows = gallery.compare(queries).nearest_each(5)[0]
    expected = queries @ mapped.T / np.linalg.norm(mapped, axis=1)
    np.testing.assert_array_equal(rows, np.argsort(-expected, axis=1)[:, :5])


def test_the_tolerance_grows_with_the_norm_of_the_form(rows):
    """A hundred-thousandth, times twice the norm of the form over the least norm of a row, but never less."""
    embeddings, _ = directions(rows)
    assert Gallery(embeddings, LABEL_IDS, 4).compare(rows[:2]).tolerances.tolist() == [np.float32(1e-5)] * 2
    queries = random_embeddings(np.random.default_rng(0), 2, 5)
    for size, norms in ((3.0, [0.5, 1, 1, 2, 1, 1]), (0.1, [1.0] * 6)):
        metric = ProjectedMetric(np.zeros(5, np.float32), size * np.eye(5, dtype=np.float32), np.array(norms))
        found = Gallery(embeddings, LABEL_IDS, 4).with_metric_in_query(metric).compare(queries).tolerances
        np.testing.assert_allclose(found, 1e-5 * max(2 * size / min(norms), 1), rtol=1e-5)


def test_fewer_queries_are_compared_at_once_where_there_are_many_rows(monkeypatch):
    """Their product is bounded; one query is always compared."""
    gallery = Gallery(random_embeddings(np.random.default_rng(5), 10, 3), np.zeros(10, np.int64), 1)
    assert gallery.queries_at_once == 2**24 // 10
    for most, expected in ((100, 10), (9, 1)):
        monkeypatch.setattr(module, "MOST_AT_ONCE", most)
        assert gallery.queries_at_once == expected
    empty = Gallery(np.empty((0, 3), np.float32), np.empty(0, np.int64), 1)
    assert empty.queries_at_once == 9


def test_directions_of_many_rows_and_of_zero():
    """A row of norm 0 stays zero; the blocks leave none out."""
    rows = np.random.default_rng(6).normal(size=(2049, 3)).astype(np.float32)
    rows[5] = 0
    embeddings, norms = directions(rows)
    np.testing.assert_allclose(norms, np.linalg.norm(rows.astype(float), axis=1))
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), np.arange(2049) != 5, atol=1e-6)
    np.testing.assert_allclose(embeddings * norms[:, None], rows, atol=1e-6)
