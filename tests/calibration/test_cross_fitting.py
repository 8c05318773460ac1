"""Folds contain every row once, and examples are scored by a reference set that was fitted without their fold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.calibration.cross_fitting import group_folds, reported, score_folds, score_queries, stratified_folds
from lmm_classifier.calibration.rule_fitting import choose_metric
from lmm_classifier.embeddings.whitening import IdentityFitter
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.metric import fit_scatter, gallery_in_metric
from lmm_classifier.neighbors.novelty import NeighborDensity, signals
from lmm_classifier.neighbors.voting import make_rule
from lmm_classifier.testing import clustered_embeddings


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80))
def test_every_row_is_in_one_fold(ids):
    """Folds are a partition; those of groups keep each group together."""
    ids = np.array(ids)
    for folds in (stratified_folds(ids), group_folds(ids)):
        np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.arange(len(ids)))
        assert all(len(fold) for fold in folds)
    for fold in group_folds(ids):
        rest = np.setdiff1d(np.arange(len(ids)), fold)
        assert not set(ids[fold]) & set(ids[rest])


def test_folds_have_the_same_mixture_of_labels():
    """A label of twenty examples has two in each of ten folds."""
    ids = np.repeat([0, 1, 2], 20)
    for fold in stratified_folds(ids):
        np.testing.assert_array_equal(np.bincount(ids[fold]), [2, 2, 2])


@pytest.mark.parametrize(("count", "folds"), [(4, 4), (10, 10), (1999, 10), (2000, 5)])
def test_there_are_ten_folds_and_five_of_many_examples(count, folds):
    """Where there are fewer rows than folds, each is one."""
    ids = np.arange(count) % 7
    assert len(stratified_folds(ids)) == folds
    for fold in stratified_folds(ids):
        assert abs(len(fold) - count / folds) < 1
        assert (np.diff(fold) > 0).all()


def test_groups_are_dealt_the_largest_first_to_the_emptiest_fold():
    """Recomputed by hand, group by group; there are ten folds, or as many as groups."""
    rng = np.random.default_rng(0)
    groups = rng.choice(40, 300, p=rng.dirichlet(np.ones(40)))
    loads, expected = [0] * 10, [set() for _ in range(10)]
    sizes = {group: int((groups == group).sum()) for group in sorted(set(groups.tolist()))}
    for group in sorted(sizes, key=lambda group: -sizes[group]):
        emptiest = loads.index(min(loads))
        loads[emptiest] += sizes[group]
        expected[emptiest].add(group)
    assert [set(groups[fold].tolist()) for fold in group_folds(groups)] == expected
    assert len(group_folds(np.array([3, 3, 9]))) == 2


def test_progress_counts_the_scored_examples():
    """After each fold: how many are done, of how many."""
    folds, seen = [(np.arange(4), np.arange(2)), (np.arange(4, 9), np.arange(4, 9))], []
    assert list(reported(folds, lambda step: seen.append((step.done, step.total)))) == folds
    assert seen == [(2, 7), (7, 7)]
    assert list(reported(folds, None)) == folds


def test_a_fold_is_scored_by_what_is_fitted_to_the_others():
    """Metric, means, nearest rows and density are those of a gallery of the other rows, computed directly."""
    rng = np.random.default_rng(2)
    label_ids = rng.integers(0, 3, 600)
    vectors = clustered_embeddings(rng, [str(label) for label in label_ids], 12, spread=1.0)
    fold, spec_for = np.arange(0, 600, 2), lambda ids: make_rule(RetrievalConfig(power_normalize=False), ids, 3)
    (rest,) = np.where(np.arange(600) % 2)
    scored = score_folds(spec_for, 0.35, IdentityFitter(), vectors, Gallery(vectors, label_ids, 3), [(fold, fold)])
    others = Gallery(vectors[rest], label_ids[rest], 3)
    metric = fit_scatter(others.embeddings, others.label_ids, 3, False).metric(0.35)
    plain = others.compare(vectors[fold])
    mapped = gallery_in_metric(metric, others).compare(metric.whiten(vectors[fold]))
    for scores, expert in zip(scored.scores, spec_for(others.label_ids).experts):
        np.testing.assert_allclose(scores, expert.scores(mapped), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(scored.rows, fold)
    np.testing.assert_array_equal(scored.label_ids, label_ids[fold])
    expected = signals(plain, mapped, NeighborDensity.of(others).knn_distance)
    np.testing.assert_allclose(scored.signals, expected, rtol=1e-4, atol=1e-5)
    # of a rule in the space of the index, the experts compare there
    knn = make_rule(RetrievalConfig(rule="knn"), others.label_ids, 3)
    in_plain = score_queries(
        knn, metric, others, gallery_in_metric(metric, others), np.ones(300), vectors[fold], label_ids[fold]
    )
    np.testing.assert_allclose(in_plain.scores[0], knn.experts[0].scores(plain), rtol=1e-5)
    np.testing.assert_array_equal(in_plain.rows, np.arange(300))


class CountingFitter:
    """Remembers the rows that the transform was fitted to."""

    def fit(self, blocks):
        self.rows = np.concatenate(list(blocks()))
        assert len(np.concatenate(list(blocks()))) == len(self.rows)  # they can be walked over again
        return IdentityFitter().fit(blocks)


def test_the_transform_is_fitted_to_the_other_rows_and_to_further_vectors():
    """Those held out take no part, however many rows there are."""
    label_ids = np.arange(2600) % 2
    vectors = clustered_embeddings(np.random.default_rng(1), [str(label) for label in label_ids], 4, 1.0)
    further, fitter, held_out = vectors[:1100] * -1, CountingFitter(), np.arange(100)
    gallery, folds = Gallery(vectors, label_ids, 2), [(held_out, held_out[:3])]

    def spec_for(label_ids):
        return make_rule(RetrievalConfig(rule="prototype"), label_ids, 2)

    for others in (further, None):
        score_folds(
            lambda ids: make_rule(RetrievalConfig(rule="prototype"), ids, 2),
            0.5,
            fitter,
            vectors,
            gallery,
            folds,
            others,
        )
        expected = vectors[100:] if others is None else np.concatenate([vectors[100:], further])
        np.testing.assert_array_equal(fitter.rows, expected)


def test_examples_of_one_group_do_not_score_each_other():
    """Six images of each object: held out alone all are correct, held out by object they are as hard as new ones."""
    rng = np.random.default_rng(0)
    objects = clustered_embeddings(rng, ["a"] * 12 + ["b"] * 12, 12, spread=2.5)
    images = np.repeat(objects, 6, axis=0) + 0.01 * rng.normal(size=(144, 12))
    images = (images / np.linalg.norm(images, axis=1, keepdims=True)).astype(np.float32)
    label_ids, groups = np.repeat([0, 1], 72), np.repeat(np.arange(24), 6)
    gallery = Gallery(images, label_ids, 2)
    config = RetrievalConfig(rule="top_k_mean")

    def spec_for(label_ids):
        return make_rule(config, label_ids, 2)

    shrinkage = choose_metric(spec_for(label_ids), gallery).metric.shrinkage
    accuracy = {}
    for name, folds in (("alone", stratified_folds(label_ids)), ("by object", group_folds(groups))):
        fold_rows = [(rows, rows) for rows in folds]
        scored = score_folds(spec_for, shrinkage, IdentityFitter(), images, gallery, fold_rows)
        accuracy[name] = (scored.scores[0].argmax(axis=1) == scored.label_ids).mean()
        assert scored.signals.shape == (144, 5)
    assert accuracy["alone"] == pytest.approx(1.0)
    assert accuracy["by object"] < 0.95


def test_only_the_wanted_rows_of_a_fold_are_scored():
    """Rows keep their numbers; a fold without a wanted row is skipped."""
    label_ids = np.repeat([0, 1], 10)
    vectors = clustered_embeddings(np.random.default_rng(0), ["a"] * 10 + ["b"] * 10, 12, spread=0.5)
    folds = [(np.arange(5), np.array([1, 3])), (np.arange(5, 10), np.array([], int)), (np.array([12]), np.array([12]))]
    scored = score_folds(
        lambda ids: make_rule(RetrievalConfig(), ids, 2),
        0.5,
        IdentityFitter(),
        vectors,
        Gallery(vectors, label_ids, 2),
        folds,
    )
    np.testing.assert_array_equal(scored.rows, [1, 3, 12])
    np.testing.assert_array_equal(scored.label_ids, [0, 0, 1])


def test_queries_are_compared_in_blocks(monkeypatch):
    """256 at a time, to the same scores."""
    label_ids = np.repeat([0, 1], 300)
    vectors, sizes = clustered_embeddings(np.random.default_rng(1), [str(label) for label in label_ids], 4, 1.0), []
    gallery, compare = Gallery(vectors, label_ids, 2), Gallery.compare
    metric = fit_scatter(vectors, label_ids, 2).metric(0.5)
    monkeypatch.setattr(Gallery, "compare", lambda self, rows: sizes.append(len(rows)) or compare(self, rows))
    spec = make_rule(RetrievalConfig(rule="prototype"), label_ids, 2)
    score_queries(spec, metric, gallery, gallery_in_metric(metric, gallery), np.ones(600), vectors, label_ids)
    assert sizes == [256, 256, 256, 256, 88, 88]
