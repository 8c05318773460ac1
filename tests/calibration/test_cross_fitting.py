"""Folds that hold every row once, and voices that never saw what they are asked about."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.calibration.cross_fitting import folds_of, folds_of_groups, hear_held_out
from lmm_classifier.calibration.fit import choose_metric
from lmm_classifier.embeddings.whitening import IdentityRecipe
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.voting import open_recipe
from lmm_classifier.testing import clustered_rows


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80))
def test_every_row_is_in_one_fold(ids):
    """Folds are a partition; those of groups keep each group together."""
    ids = np.array(ids)
    for folds in (folds_of(ids), folds_of_groups(ids)):
        np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.arange(len(ids)))
        assert all(len(fold) for fold in folds)
    for fold in folds_of_groups(ids):
        rest = np.setdiff1d(np.arange(len(ids)), fold)
        assert not set(ids[fold]) & set(ids[rest])


def test_folds_share_every_label():
    """A label of twenty examples has two in each of ten folds."""
    ids = np.repeat([0, 1, 2], 20)
    for fold in folds_of(ids):
        np.testing.assert_array_equal(np.bincount(ids[fold]), [2, 2, 2])


def test_groups_are_not_their_own_witnesses():
    """Six shots of each object: leaving out one is easy, leaving out the object is as hard as for a new object."""
    rng = np.random.default_rng(0)
    objects = clustered_rows(rng, ["a"] * 12 + ["b"] * 12, 12, spread=2.5)
    shots = np.repeat(objects, 6, axis=0) + 0.01 * rng.normal(size=(144, 12))
    shots = (shots / np.linalg.norm(shots, axis=1, keepdims=True)).astype(np.float32)
    labels, groups = np.repeat([0, 1], 72), np.repeat(np.arange(24), 6)
    gallery = Gallery(shots, labels, 2)
    config = RetrievalConfig(rule="top_mean")

    def recipe_for(label_ids):
        return open_recipe(config, label_ids, 2)

    chosen = choose_metric(recipe_for(labels), gallery)
    right = {}
    for name, folds in (("singly", folds_of(labels)), ("by object", folds_of_groups(groups))):
        heard = hear_held_out(recipe_for, chosen, IdentityRecipe(), shots, gallery, [(rows, rows) for rows in folds])
        right[name] = (heard.scores[0].argmax(axis=1) == heard.own).mean()
        assert heard.signals.shape == (144, 5)
    assert right["singly"] == pytest.approx(1.0)
    assert right["by object"] < 0.95
