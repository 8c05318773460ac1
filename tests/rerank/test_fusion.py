"""Fusion: probabilities stay probabilities, Bayes' rule for independent evidence, retrieval alone without trials."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from lmm_classifier.core.datatypes import RerankResult
from lmm_classifier.core.numerics import softmax
from lmm_classifier.rerank.fusion import Fusion, evidence, fit_fusion

PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=6).filter(lambda values: sum(values) > 0.01)


@given(PROBABILITIES, PROBABILITIES, st.floats(0, 3), st.floats(0, 3), st.none() | st.floats(0, 1))
def test_the_sum_is_that_of_retrieval(probabilities, scores, a, b, none):
    """The result is finite and not negative, and the probability outside the candidates does not change."""
    count = min(len(probabilities), len(scores))
    retrieval = np.array(probabilities[:count]) / max(1.0, sum(probabilities[:count]))
    total = sum(scores[:count]) or 1.0
    answer = RerankResult(tuple(score / total for score in scores[:count]), none_probability=none)
    fused = Fusion(a, b)(retrieval, answer)
    assert np.isfinite(fused).all()
    assert (fused >= 0).all()
    assert fused.sum() == pytest.approx(retrieval.sum())


def test_equal_weights_are_bayes_rule():
    """Two independent distributions are multiplied."""
    fused = Fusion(1, 1)(np.array([0.6, 0.3]), RerankResult((0.2, 0.8)))
    np.testing.assert_allclose(fused, 0.9 * np.array([0.12, 0.24]) / 0.36)


def test_none_of_these_only_reduces_the_weight():
    """If the reranker is sure that no candidate fits, its choice does not count, and retrieval's stays."""
    probabilities = np.array([0.6, 0.3])
    answer = RerankResult((0.01, 0.99), none_probability=1.0)
    np.testing.assert_allclose(Fusion(1, 1)(probabilities, answer), probabilities)


def test_fusion_is_the_formula():
    """The weighted logarithms are added, and "none" takes its part of the reranker's."""
    probabilities, scores = np.array([0.5, 0.2, 0.1]), (0.1, 0.6, 0.3)
    for none, trusted in ((None, 1.0), (0.0, 1.0), (0.25, 0.75)):
        weights = probabilities**1.4 * np.array(scores) ** (0.7 * trusted)
        fused = Fusion(1.4, 0.7)(probabilities, RerankResult(scores, none_probability=none))
        np.testing.assert_allclose(fused, 0.8 * weights / weights.sum())


def test_probabilities_below_a_millionth_count_as_that():
    """So one answer cannot outweigh everything else."""
    logs = evidence(np.array([1.0, 0.0]), RerankResult((1e-9, 1.0)))
    np.testing.assert_allclose(logs, [[0, np.log(1e-6)], [np.log(1e-6), 0]])


def test_a_sum_above_one_by_rounding_stays_a_probability():
    """Probabilities that add up to a little more than 1 give a distribution."""
    assert Fusion(1, 1)(np.array([0.7, 0.4]), RerankResult((0.5, 0.5))).sum() == pytest.approx(1)


def simulate(count, skill, rng, classes=3):
    """Evidence and truth of examples with calibrated retrieval; the reranker is noise at `skill` 0, good at 1."""
    logs, truth = [], []
    for _ in range(count):
        probabilities = rng.dirichlet(np.ones(classes))
        true = rng.choice(classes, p=probabilities)
        logits = rng.normal(0, 1, classes)
        logits[true] += 1.5 * skill
        scores = np.exp(1.5 * logits) / np.exp(1.5 * logits).sum()
        logs.append(evidence(probabilities, RerankResult(tuple(scores))))
        truth.append(int(true))
    return logs, truth


def loss(fusion, logs, truth):
    weights = np.array([fusion.retrieval, fusion.reranker])
    return np.mean([-np.log(softmax(weights @ pair)[true]) for pair, true in zip(logs, truth)])


def test_weights_follow_the_evidence():
    """A reranker that is noise gets almost no weight and retrieval keeps its own; a good one gets much."""
    rng = np.random.default_rng(0)
    noise, good = fit_fusion(*simulate(600, 0, rng)), fit_fusion(*simulate(600, 1, rng))
    assert noise.reranker < 0.1
    assert noise.retrieval == pytest.approx(1, abs=0.2)
    assert good.reranker > 0.5
    logs, truth = simulate(600, 1, rng)
    assert loss(good, logs, truth) < loss(Fusion(1, 0), logs, truth) - 0.1


@pytest.mark.parametrize(
    ("count", "skill", "flipped"),
    [(1, 1, False), (12, 0, False), (40, 1, False), (40, 2, True), (60, -1, False), (1, -1, False), (6, -0.2, False)],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_weights_have_the_least_loss(count, skill, flipped, seed):
    """Scipy's minimum over weights of 0 and more, with a prior of 4 examples around (1, 0)."""
    logs, truth = simulate(count, skill, np.random.default_rng(seed))
    if flipped:  # retrieval points away from the truth, so that its weight ends at 0
        logs = [np.stack([-4 * pair[0], pair[1]]) for pair in logs]

    def loss_with_prior(weights):
        losses = [np.logaddexp.reduce(weights @ pair) - weights @ pair[:, true] for pair, true in zip(logs, truth)]
        return sum(losses) + 2 * ((weights[0] - 1) ** 2 + weights[1] ** 2)

    best = minimize(loss_with_prior, [0.5, 0.5], bounds=[(0, None)] * 2, options={"ftol": 1e-14, "gtol": 1e-9})
    fitted = fit_fusion(logs, truth)
    assert (fitted.retrieval, fitted.reranker) == pytest.approx(tuple(best.x), abs=1e-4)
    assert (fitted.retrieval == 0) == flipped
    assert (fitted.reranker == 0) == (best.x[1] < 1e-9)


def test_a_reranker_that_is_always_wrong_is_ignored():
    """A weight is never negative, so a wrong answer does not count as evidence for the opposite."""
    rng = np.random.default_rng(1)
    assert fit_fusion(*simulate(400, -1, rng)).reranker == 0


def test_without_trials_it_is_retrieval_alone():
    """The prior is weight 1 for retrieval and 0 for the reranker."""
    assert fit_fusion([], []) == Fusion(1.0, 0.0)
