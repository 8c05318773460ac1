"""The metric and the temperatures are chosen by leave-one-out, within bounds of time and memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.calibration import rule_fitting as module
from lmm_classifier.calibration.rule_fitting import (
    MAX_ROWS,
    SHRINKAGES,
    _largest_of_the_best,
    choose_metric,
    default_sample_size,
    densely,
    fit_rule,
    rows_for_shrinkage,
    sample_rows,
    score_held_out,
)
from lmm_classifier.calibration.temperature import fit_temperature, log_loss
from lmm_classifier.core.numerics import log_softmax
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


def test_the_losses_are_those_of_refits_without_each_example():
    """Each example is deleted, the means and the covariance are computed anew, and its cosines to the means scored."""
    gallery = gallery_of()
    rows, count, dim = gallery.embeddings.astype(np.float64), len(LABEL_IDS), DIM
    chosen = choose_metric(spec_of(power_normalize=False), gallery)

    def pooled(rows, label_ids):
        means = np.stack([rows[label_ids == label].mean(axis=0) for label in range(3)])
        deviations = rows - means[label_ids]
        return means, deviations.T @ deviations / (count - 3)

    unit = np.trace(pooled(rows, LABEL_IDS)[1]) / dim
    for shrinkage in (0.03, 0.5, 0.98):
        cosines = []
        for row in range(count):
            rest = np.arange(count) != row
            center = rows[rest].mean(axis=0)
            means, covariance = pooled(rows[rest] - center, LABEL_IDS[rest])
            inverse = np.linalg.inv((1 - shrinkage) * covariance + shrinkage * unit * np.eye(dim))
            query = rows[row] - center
            norms = np.sqrt(np.einsum("cd,de,ce->c", means, inverse, means) * (query @ inverse @ query))
            cosines.append(means @ inverse @ query / norms)
        scores = np.array(cosines)
        expected = log_loss(scores, LABEL_IDS, fit_temperature(scores, LABEL_IDS))
        assert chosen.losses[shrinkage] == pytest.approx(expected, abs=1e-5)


def test_the_one_standard_error_rule():
    """The largest shrinkage whose mean excess over the least loss is at most its standard error."""
    best = np.array([1.0, 2.0, 3.0, 4.0])
    excess = np.array([0.0, 0.2, 0.0, 0.2])  # mean 0.1, standard error 0.05
    losses = {0.03: best + 9, 0.1: best, 0.2: best + excess, 0.35: best + 0.5 * (excess - 0.1)}
    assert _largest_of_the_best(losses) == 0.35  # its mean excess is 0
    assert _largest_of_the_best({**losses, 0.35: best + 9}) == 0.1
    assert (
        _largest_of_the_best({0.1: best, 0.2: best + 0.99e-4, 0.5: best + 1.01e-4}) == 0.2
    )  # rounding counts as equal
    wide = np.array([-0.9, 1.1, -0.9, 1.1])  # mean 0.1, standard error 0.5
    assert _largest_of_the_best({0.1: best, 0.2: best + wide}) == 0.2
    assert _largest_of_the_best({0.03: best + wide, 0.1: best}) == 0.1  # a smaller one is never preferred
    at_limit = np.array([0.0, 1.0, 0.0, 1.0])  # mean 0.5, standard error 0.25
    assert _largest_of_the_best({0.1: best, 0.2: best + at_limit - 0.25}) == 0.2
    assert _largest_of_the_best({0.1: best, 0.2: best + at_limit - 0.2498}) == 0.1
    assert _largest_of_the_best({0.1: np.empty(0), 0.2: best}) == 0.2
    assert _largest_of_the_best({0.1: np.empty(0)}) == 0.98


def test_temperatures_are_those_of_the_experts_and_of_their_product():
    """Each expert has the temperature of its own least loss, and then the product has one more."""
    gallery, spec = gallery_of(), spec_of()
    chosen = choose_metric(spec, gallery)
    in_metric, done = gallery_in_metric(chosen.metric, gallery), []
    rows = np.arange(0, 60, 2)
    held_out = score_held_out(spec, chosen, gallery, in_metric, NeighborDensity.of(gallery), rows, done.append)
    assert [(step.done, step.total) for step in done] == [(30, 30)]
    familiarity = np.linspace(-2, 1, len(rows))
    fitted, predictions = fit_rule(spec, chosen, held_out, familiarity, gallery.embeddings[rows])
    assert predictions.familiarity is familiarity
    assert fitted.temperatures == tuple(fit_temperature(scores, LABEL_IDS[rows]) for scores in held_out.scores)
    logs = [log_softmax(scores / temperature) for scores, temperature in zip(held_out.scores, fitted.temperatures)]
    for own, expected in zip(predictions.expert_log_probabilities, logs):
        np.testing.assert_allclose(own, expected)
    combined = np.mean([np.maximum(log, -16) for log in logs], axis=0)
    assert fitted.temperature == pytest.approx(fit_temperature(combined, LABEL_IDS[rows]))
    np.testing.assert_allclose(predictions.log_probabilities, log_softmax(combined / fitted.temperature))
    np.testing.assert_array_equal(predictions.label_ids, LABEL_IDS[rows])


def test_held_out_scores_are_those_of_a_refit_without_the_example():
    """Each expert scores an example by means and a covariance that were computed without it."""
    gallery, spec = gallery_of(spread=2.0), spec_of(power_normalize=False)
    chosen = choose_metric(spec, gallery)
    in_metric = gallery_in_metric(chosen.metric, gallery)
    examples = np.array([7, 33, 59])
    held_out = score_held_out(spec, chosen, gallery, in_metric, NeighborDensity.of(gallery), examples)
    for place, row in enumerate(examples):
        rest = np.arange(60) != row
        rows, label_ids = gallery.embeddings[rest].astype(np.float64), LABEL_IDS[rest]
        rows, query = rows - rows.mean(axis=0), gallery.embeddings[row] - rows.mean(axis=0)
        means = np.stack([rows[label_ids == label].mean(axis=0) for label in range(3)])
        deviations = rows - means[label_ids]
        shrinkage, unit = chosen.metric.shrinkage, chosen.scatter.mean_variance
        covariance = (1 - shrinkage) * deviations.T @ deviations / 57 + shrinkage * unit * np.eye(DIM)
        root = np.linalg.cholesky(np.linalg.inv(covariance))
        query, means, rows = query @ root, means @ root, rows @ root

        def cosines(others, query=query):
            return others @ query / np.linalg.norm(others, axis=1) / np.linalg.norm(query)

        nearest = [np.sort(cosines(rows[label_ids == label]))[-5:].mean() for label in range(3)]
        expected = [-0.5 * np.square(means - query).sum(axis=1), cosines(means), nearest]
        for scores, by_hand in zip(held_out.scores, expected):
            np.testing.assert_allclose(scores[place], by_hand, rtol=1e-3, atol=1e-4)


def test_the_shrinkages_are_probabilities_in_order():
    """Neither no shrinkage, which a small dataset cannot bear, nor one that forgets the covariance."""
    assert sorted(SHRINKAGES) == list(SHRINKAGES)
    assert 0 < SHRINKAGES[0] < 0.05
    assert 0.95 < SHRINKAGES[-1] < 1


def test_one_example_per_label_is_not_whitened():
    """Nothing can be held out, so there is no loss, and no difference within labels that could be whitened."""
    gallery = Gallery(gallery_of().embeddings[[0, 20, 40]], np.arange(3), 3)
    chosen = choose_metric(make_rule(RetrievalConfig(), np.arange(3), 3), gallery)
    assert np.isnan(list(chosen.losses.values())).all()
    assert chosen.metric.shrinkage == 1


@given(st.integers(1, 300), st.integers(1, 400))
def test_a_sample_has_distinct_rows_in_order(count, most):
    """All rows where there are few, else as many as allowed."""
    rows = sample_rows(count, most)
    assert len(rows) == min(count, most)
    assert len(np.unique(rows)) == len(rows)
    assert (np.diff(rows) > 0).all()


@pytest.mark.parametrize(
    ("count", "size"),
    [(1, MAX_ROWS), (100_000, MAX_ROWS), (200_000, 10_000), (1_000_000, 2000), (10**9, 1000), (0, MAX_ROWS)],
)
def test_fewer_examples_are_held_out_where_there_are_very_many(count, size):
    """Their number times the number of examples bounds the time."""
    assert default_sample_size(count) == size


def test_fewer_examples_are_sampled_where_there_are_many_labels():
    """Examples times labels bounds the memory, and one example is always there."""
    assert densely(MAX_ROWS, 2000) == 10_000
    assert densely(MAX_ROWS, 10**9) == 1
    assert densely(MAX_ROWS, 0) == MAX_ROWS


@pytest.mark.parametrize("rule", ["knn", "auto"])
def test_a_fixed_temperature_is_not_fitted(rule):
    """With `retrieval.temperature` set, kNN scores are used as they are; `auto` always fits its own."""
    gallery = gallery_of()
    spec = spec_of(rule=rule, temperature=0.5)
    chosen = choose_metric(spec, gallery)
    in_metric = gallery_in_metric(chosen.metric, gallery)
    held_out = score_held_out(spec, chosen, gallery, in_metric, NeighborDensity.of(gallery), np.arange(60))
    fitted, predictions = fit_rule(spec, chosen, held_out, np.zeros(60), gallery.embeddings)
    assert (fitted.temperature == 1.0) == spec.fixed == (rule == "knn")
    assert len(predictions.expert_log_probabilities) == len(spec.experts)
    np.testing.assert_allclose(np.exp(predictions.log_probabilities).sum(axis=1), 1)


def test_the_limits_of_time_and_memory():
    """What is held out and tried, at most; the numbers of the guide to large indexes rest on them."""
    assert (module.MAX_ROWS, module._ROWS_FOR_SHRINKAGE, module._BLOCK) == (20_000, 5000, 4096)
    assert (module.MAX_SCORES, module._SCORES_FOR_SHRINKAGE) == (20_000_000, 4_000_000)
    assert (module._MAX_PAIRS, module._MIN_ROWS) == (2_000_000_000, 1000)


@pytest.mark.parametrize(("labels", "most"), [(800, 5000), (1000, 4000), (4000, 1000), (100_000, 1000), (0, 5000)])
def test_fewer_examples_judge_the_shrinkage_where_there_are_many_labels(labels, most):
    """Examples times labels bounds the time: 5,000 of them at most, and at least a thousand."""
    assert rows_for_shrinkage(labels) == most


def test_the_shrinkage_is_judged_by_sparse_scores_where_dense_ones_do_not_fit(monkeypatch):
    """The losses are those of dense scores."""
    gallery = gallery_of()
    dense = choose_metric(spec_of(), gallery)
    monkeypatch.setattr(module, "_SCORES_FOR_SHRINKAGE", 30)
    monkeypatch.setattr(module, "_LEAST_FOR_SHRINKAGE", 60)
    sparse = choose_metric(spec_of(), gallery)
    assert sparse.metric.shrinkage == dense.metric.shrinkage
    assert sparse.losses == pytest.approx(dense.losses, rel=1e-3)
