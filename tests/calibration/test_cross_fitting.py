"""Folds contain every row once, and examples are scored by a reference set that was fitted without their fold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.calibration.cross_fitting import group_folds, score_folds, stratified_folds
from lmm_classifier.calibration.rule_fitting import choose_metric
from lmm_classifier.embeddings.whitening import IdentityFitter
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import Gallery
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
