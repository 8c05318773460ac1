"""Comparisons with all rows of a gallery, against brute force; and the folded metric against the mapped rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.metric import fit_scatter, lengths_in, whitened
from lmm_classifier.testing import unit_rows


def brute(gallery, query, gone):
    """Cosines of one query with all rows, -inf for those left out."""
    near = gallery.units.astype(float) @ query.astype(float)
    near[gone] = -np.inf
    return near


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400), st.integers(1, 9), st.integers(1, 12), st.booleans(), st.integers(0, 999))
def test_everything_against_brute_force(count, labels, k, in_order, seed):
    """Nearest, nearest among some, and means of labels, whatever the order of the labels and the rows left out."""
    rng = np.random.default_rng(seed)
    label_ids = rng.integers(0, labels, count)
    gallery = Gallery(unit_rows(rng, count, 6), np.sort(label_ids) if in_order else label_ids, labels)
    queries = unit_rows(rng, 5, 6)
    gone = [np.flatnonzero(rng.random(count) < share) for share in (0, 0.1, 0.5, 0.9, 1)]
    comparison = gallery.compare(queries, gone)
    rows, cosines = comparison.nearest_each(k)
    among = np.sort(rng.permutation(count)[: count // 2])
    few, _ = comparison.nearest_among([(query, among) for query in range(5)], k)
    tops = comparison.top_mean(k)
    both = (comparison.top_mean(1) + comparison.mean_cosines()) / 2
    np.testing.assert_array_equal(gallery.compare(queries, gone).best_label(), both.max(axis=1))
    for query in range(5):
        near = brute(gallery, queries[query], gone[query])
        best = [row for row in np.argsort(-near, kind="stable")[:k] if np.isfinite(near[row])]
        assert [row for row in rows[query] if row >= 0] == best
        np.testing.assert_allclose(cosines[query][: len(best)], near[best], atol=1e-6)
        one, same = comparison.nearest(query, k)
        np.testing.assert_array_equal(one, rows[query][: len(best)])
        np.testing.assert_array_equal(same, cosines[query][: len(best)])
        chosen = [row for row in among[np.argsort(-near[among], kind="stable")][:k] if np.isfinite(near[row])]
        assert [row for row in few[query] if row >= 0] == chosen
        for label in range(labels):
            mine = np.sort(near[gallery.label_ids == label])[::-1][:k]
            mine = mine[np.isfinite(mine)]
            assert tops[query, label] == pytest.approx(mine.mean() if len(mine) else -np.inf, abs=1e-6)


def test_means_without_rows_are_those_of_a_gallery_without_them():
    """Cosines and distances to means, for queries with and without rows left out, in one comparison."""
    rng = np.random.default_rng(1)
    label_ids = np.repeat(np.arange(4), [5, 1, 7, 2])
    units, queries = unit_rows(rng, 15, 6), unit_rows(rng, 3, 6)
    gone = [np.array([0, 1, 9]), np.array([], int), np.array([5])]
    found = Gallery(units, label_ids, 4).compare(queries, gone)
    for query, rows in enumerate(gone):
        left = np.setdiff1d(np.arange(15), rows)
        alone = Gallery(units[left], label_ids[left], 4).compare(queries[[query]])
        np.testing.assert_allclose(found.mean_cosines()[query], alone.mean_cosines()[0], atol=1e-12)
        np.testing.assert_allclose(found.square_distances()[query], alone.square_distances()[0], atol=1e-12)
    assert np.isneginf(found.mean_cosines()[2, 1])


def spaces(count=600, dim=40, labels=7, shrinkage=0.1):
    rng = np.random.default_rng(2)
    label_ids = rng.integers(0, labels, count)
    rows = unit_rows(rng, labels, dim)[label_ids] + rng.normal(size=(count, dim)) * np.geomspace(0.3, 0.003, dim)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    gallery = Gallery(rows[:500], label_ids[:500], labels)
    return gallery, fit_scatter(gallery.units, gallery.label_ids, labels, root=False).metric(shrinkage), rows[500:]


@pytest.mark.parametrize("shrinkage", [0.03, 0.5, 0.98])
def test_a_folded_metric_gives_what_mapped_rows_give(monkeypatch, shrinkage):
    """Cosines, means and distances to 1e-6, rows left out or not, without a second matrix."""
    gallery, metric, queries = spaces(shrinkage=shrinkage)
    mapped = whitened(metric, gallery)
    monkeypatch.setattr("lmm_classifier.neighbors.metric.FOLD_FROM", 0)
    folded = whitened(metric, gallery)
    assert folded.units is gallery.units
    gone = [np.arange(query, 500, 50) for query in range(100)]
    one, other = (each.compare(metric.whiten(queries), gone) for each in (mapped, folded))
    np.testing.assert_allclose(one.top_mean(3), other.top_mean(3), atol=1e-6)
    np.testing.assert_allclose(one.mean_cosines(), other.mean_cosines(), atol=1e-6)
    np.testing.assert_allclose(one.square_distances(), other.square_distances(), rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(one.nearest_each(9)[1], other.nearest_each(9)[1], atol=1e-6)


def test_a_folded_metric_does_not_depend_on_the_batch(monkeypatch):
    """The same bits for any split of the queries."""
    monkeypatch.setattr("lmm_classifier.neighbors.metric.FOLD_FROM", 0)
    gallery, metric, queries = spaces()
    folded = whitened(metric, gallery)
    whole = folded.compare(metric.whiten(queries))
    for size in (1, 7, 33):
        parts = [folded.compare(metric.whiten(queries[start : start + size])) for start in range(0, 100, size)]
        for ask in ("mean_cosines", "square_distances"):
            together = np.concatenate([getattr(part, ask)() for part in parts])
            np.testing.assert_array_equal(together, getattr(whole, ask)())
        np.testing.assert_array_equal(np.concatenate([part.top_mean(5) for part in parts]), whole.top_mean(5))
        np.testing.assert_array_equal(
            np.concatenate([part.nearest_each(4)[1] for part in parts]), whole.nearest_each(4)[1]
        )


def test_a_row_at_the_centre_of_a_folded_metric_has_cosine_zero(monkeypatch):
    """As a row without direction has elsewhere; and lengths that are known are not computed."""
    monkeypatch.setattr("lmm_classifier.neighbors.metric.FOLD_FROM", 0)
    gallery, metric, queries = spaces()
    units = gallery.units.copy()
    units[3] = metric.centre
    folded = whitened(metric, Gallery(units, gallery.label_ids, gallery.labels))
    comparison = folded.compare(metric.whiten(queries))
    assert comparison.nearest(0, 1, np.array([3]))[1] == [0]
    norms = folded.fold.norms.copy()
    norms[[5, 7]] = np.nan, 9
    again = lengths_in(metric, folded, norms)
    assert again[7] == 9
    np.testing.assert_array_equal(np.delete(again, 7), np.delete(folded.fold.norms, 7))
