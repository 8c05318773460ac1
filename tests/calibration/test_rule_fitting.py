"""The metric and the temperatures are chosen by leave-one-out, within bounds of time and memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.calibration.rule_fitting import (
    MAX_ROWS,
    SHRINKAGES,
    choose_metric,
    default_sample_size,
    fit_rule,
    sample_rows,
    score_held_out,
)
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.metric import gallery_in_metric
from lmm_classifier.neighbors.novelty import NeighborDensity
from lmm_classifier.neighbors.voting import make_rule
from lmm_classifier.testing import clustered_embeddings
from tests.helpers.vector_indexes import DIM

LABEL_IDS = np.repeat([0, 1, 2], 20)


def gallery_of(seed=0, spread=1.0):
    names = [f"label {label}" for label in LABEL_IDS]
    return Gallery(clustered_embeddings(np.random.default_rng(seed), names, DIM, spread), LABEL_IDS, 3)


def spec_of(**settings):
    return make_rule(RetrievalConfig(**settings), LABEL_IDS, 3)


@pytest.mark.parametrize("seed", range(4))
def test_the_largest_shrinkage_that_is_as_good_as_the_best_is_chosen(seed):
    """The loss of every shrinkage is reported; no larger one is better than the chosen one."""
    chosen = choose_metric(spec_of(), gallery_of(seed))
    assert tuple(chosen.losses) == SHRINKAGES
    best = min(chosen.losses, key=lambda shrinkage: chosen.losses[shrinkage])
    assert chosen.metric.shrinkage >= best
    assert chosen.metric.shrinkage in SHRINKAGES


def test_one_example_per_label_is_not_whitened():
    """Nothing can be held out, so there is no loss, and no difference within labels that could be whitened."""
    gallery = Gallery(gallery_of().embeddings[[0, 20, 40]], np.arange(3), 3)
    chosen = choose_metric(make_rule(RetrievalConfig(), np.arange(3), 3), gallery)
    assert np.isnan(list(chosen.losses.values())).all()
    assert chosen.metric.shrinkage == 1


@given(st.integers(1, 300), st.integers(1, 50), st.integers(1, 400))
def test_a_sample_has_distinct_rows_in_order(count, labels, most):
    """All rows where there are few, else as many as allowed."""
    rows = sample_rows(count, labels, most)
    assert len(rows) == min(count, most)
    assert len(np.unique(rows)) == len(rows)
    assert (np.diff(rows) > 0).all()


@pytest.mark.parametrize(("count", "size"), [(1, MAX_ROWS), (100_000, MAX_ROWS), (1_000_000, 2000), (10**9, 1000)])
def test_fewer_examples_are_held_out_where_there_are_very_many(count, size):
    """Their number times the number of examples bounds the time."""
    assert default_sample_size(count) == size


@pytest.mark.parametrize("rule", ["knn", "auto"])
def test_a_fixed_temperature_is_not_fitted(rule):
    """With `retrieval.temperature` set, kNN scores are used as they are; `auto` always fits its own."""
    gallery = gallery_of()
    spec = spec_of(rule=rule, temperature=0.5)
    chosen = choose_metric(spec, gallery)
    in_metric = gallery_in_metric(chosen.metric, gallery)
    held_out = score_held_out(spec, chosen, gallery, in_metric, NeighborDensity.of(gallery), np.arange(60))
    fitted, predictions = fit_rule(spec, chosen, held_out, gallery.embeddings)
    assert (fitted.temperature == 1.0) == spec.fixed == (rule == "knn")
    assert len(predictions.expert_log_probabilities) == len(spec.experts)
    np.testing.assert_allclose(np.exp(predictions.log_probabilities).sum(axis=1), 1)
