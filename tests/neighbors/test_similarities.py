"""Similarities to all rows of a gallery agree with loops, and a projected metric agrees with mapped rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.metric import fit_scatter, gallery_in_metric, norms_in
from lmm_classifier.testing import random_embeddings


def cosines_with_all(gallery, query, left_out):
    """Cosines of one query with all rows, -inf for those left out."""
    cosines = gallery.embeddings.astype(float) @ query.astype(float)
    cosines[left_out] = -np.inf
    return cosines


def finite_best(cosines, rows, k):
    """The k rows of highest cosine among `rows`, without those left out."""
    return [row for row in rows[np.argsort(-cosines[rows], kind="stable")][:k] if np.isfinite(cosines[row])]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400), st.integers(1, 9), st.integers(1, 12), st.booleans(), st.integers(0, 999))
def test_every_method_agrees_with_a_loop(count, labels, k, in_order, seed):
    """Nearest rows, nearest among some, and means of labels, for any order of the labels and any rows left out."""
    rng = np.random.default_rng(seed)
    label_ids = rng.integers(0, labels, count)
    gallery = Gallery(random_embeddings(rng, count, 6), np.sort(label_ids) if in_order else label_ids, labels)
    queries = random_embeddings(rng, 5, 6)
    left_out = [np.flatnonzero(rng.random(count) < fraction) for fraction in (0, 0.1, 0.5, 0.9, 1)]
    similarities = gallery.compare(queries, left_out)
    rows, cosines = similarities.nearest_each(k)
    some_rows = np.sort(rng.permutation(count)[: count // 2])
    nearest_of_some, _ = similarities.nearest_among([(query, some_rows) for query in range(5)], k)
    means = similarities.top_k_mean(k)
    label_scores = (similarities.top_k_mean(1) + similarities.mean_cosines()) / 2
    np.testing.assert_array_equal(gallery.compare(queries, left_out).best_label(), label_scores.max(axis=1))
    for query in range(5):
        expected_cosines = cosines_with_all(gallery, queries[query], left_out[query])
        best = finite_best(expected_cosines, np.arange(count), k)
        assert [row for row in rows[query] if row >= 0] == best
        np.testing.assert_allclose(cosines[query][: len(best)], expected_cosines[best], atol=1e-6)
        rows_of_query, cosines_of_query = similarities.nearest(query, k)
        np.testing.assert_array_equal(rows_of_query, rows[query][: len(best)])
        np.testing.assert_array_equal(cosines_of_query, cosines[query][: len(best)])
        expected_of_some = finite_best(expected_cosines, some_rows, k)
        assert [row for row in nearest_of_some[query] if row >= 0] == expected_of_some
        for label in range(labels):
            of_label = np.sort(expected_cosines[gallery.label_ids == label])[::-1][:k]
            of_label = of_label[np.isfinite(of_label)]
            assert means[query, label] == pytest.approx(of_label.mean() if len(of_label) else -np.inf, abs=1e-6)


def test_no_rows_and_no_neighbors_wanted():
    """The results are empty, and a label without rows has no score."""
    queries = random_embeddings(np.random.default_rng(0), 3, 4)
    empty = Gallery(np.empty((0, 4), np.float32), np.empty(0, np.int64), 2)
    for similarities, k in ((empty.compare(queries), 5), (Gallery(queries, np.zeros(3, int), 1).compare(queries), 0)):
        assert [part.shape for part in similarities.nearest_each(k)] == [(3, 0), (3, 0)]
    assert np.isneginf(empty.compare(queries).top_k_mean(2)).all()
    assert np.isneginf(empty.compare(queries).best_label()).all()
    assert len(empty.compare(queries).nearest(1, 2)[0]) == 0


def test_means_without_rows_are_those_of_a_gallery_without_them():
    """Cosines and distances to means, for queries with and without rows left out, in one comparison."""
    rng = np.random.default_rng(1)
    label_ids = np.repeat(np.arange(4), [5, 1, 7, 2])
    embeddings, queries = random_embeddings(rng, 15, 6), random_embeddings(rng, 3, 6)
    left_out = [np.array([0, 1, 9]), np.array([], int), np.array([5])]
    similarities = Gallery(embeddings, label_ids, 4).compare(queries, left_out)
    for query, rows in enumerate(left_out):
        rest = np.setdiff1d(np.arange(15), rows)
        smaller = Gallery(embeddings[rest], label_ids[rest], 4).compare(queries[[query]])
        np.testing.assert_allclose(similarities.mean_cosines()[query], smaller.mean_cosines()[0], atol=1e-12)
        np.testing.assert_allclose(similarities.square_distances()[query], smaller.square_distances()[0], atol=1e-12)
    assert np.isneginf(similarities.mean_cosines()[2, 1])


def gallery_metric_and_queries(count=600, dim=40, labels=7, shrinkage=0.1):
    rng = np.random.default_rng(2)
    label_ids = rng.integers(0, labels, count)
    centers = random_embeddings(rng, labels, dim)
    rows = centers[label_ids] + rng.normal(size=(count, dim)) * np.geomspace(0.3, 0.003, dim)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    gallery = Gallery(rows[:500], label_ids[:500], labels)
    scatter = fit_scatter(gallery.embeddings, gallery.label_ids, labels, power_normalize=False)
    return gallery, scatter.metric(shrinkage), rows[500:]


@pytest.mark.parametrize("shrinkage", [0.03, 0.5, 0.98])
def test_mapped_rows_agree_with_a_projected_metric(monkeypatch, shrinkage):
    """Cosines, means and distances agree to 1e-6, with rows left out, and no second matrix is stored."""
    gallery, metric, queries = gallery_metric_and_queries(shrinkage=shrinkage)
    mapped = gallery_in_metric(metric, gallery)
    monkeypatch.setattr("lmm_classifier.neighbors.metric.PROJECT_FROM", 0)
    projected = gallery_in_metric(metric, gallery)
    assert projected.embeddings is gallery.embeddings
    left_out = [np.arange(query, 500, 50) for query in range(100)]
    expected = projected.compare(metric.whiten(queries), left_out)
    similarities = mapped.compare(metric.whiten(queries), left_out)
    np.testing.assert_allclose(similarities.top_k_mean(3), expected.top_k_mean(3), atol=1e-6)
    np.testing.assert_allclose(similarities.mean_cosines(), expected.mean_cosines(), atol=1e-6)
    np.testing.assert_allclose(similarities.square_distances(), expected.square_distances(), rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(similarities.nearest_each(9)[1], expected.nearest_each(9)[1], atol=1e-6)


def test_a_projected_metric_does_not_depend_on_the_batch(monkeypatch):
    """Any split of the queries gives the same bits."""
    monkeypatch.setattr("lmm_classifier.neighbors.metric.PROJECT_FROM", 0)
    gallery, metric, queries = gallery_metric_and_queries()
    projected = gallery_in_metric(metric, gallery)
    whole = projected.compare(metric.whiten(queries))
    for size in (1, 7, 33):
        parts = [projected.compare(metric.whiten(queries[start : start + size])) for start in range(0, 100, size)]
        for name in ("mean_cosines", "square_distances"):
            joined = np.concatenate([getattr(part, name)() for part in parts])
            np.testing.assert_array_equal(joined, getattr(whole, name)())
        np.testing.assert_array_equal(np.concatenate([part.top_k_mean(5) for part in parts]), whole.top_k_mean(5))
        np.testing.assert_array_equal(
            np.concatenate([part.nearest_each(4)[1] for part in parts]), whole.nearest_each(4)[1]
        )


def test_a_row_at_the_center_of_a_projected_metric_has_cosine_zero(monkeypatch):
    """It has no direction there; and norms that are known are not computed again."""
    monkeypatch.setattr("lmm_classifier.neighbors.metric.PROJECT_FROM", 0)
    gallery, metric, queries = gallery_metric_and_queries()
    embeddings = gallery.embeddings.copy()
    embeddings[3] = metric.center
    projected = gallery_in_metric(metric, Gallery(embeddings, gallery.label_ids, gallery.labels))
    similarities = projected.compare(metric.whiten(queries))
    assert similarities.nearest(0, 1, np.array([3]))[1] == [0]
    known = projected.projected.norms.copy()
    known[[5, 7]] = np.nan, 9
    norms = norms_in(metric, projected, known)
    assert norms[7] == 9
    np.testing.assert_array_equal(np.delete(norms, 7), np.delete(projected.projected.norms, 7))


def test_a_metric_is_not_projected_onto_rows_of_other_norms():
    """A gallery whose rows are not normalized raises ValueError."""
    gallery, metric, _ = gallery_metric_and_queries()
    scaled = Gallery.of(2 * gallery.embeddings, gallery.label_ids, gallery.labels)
    projected = gallery_in_metric(metric, gallery)
    with pytest.raises(ValueError, match="norm 1"):
        scaled.with_metric_in_query(projected)
