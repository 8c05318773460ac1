"""Fusion: a probability stays one; Bayes' rule for independent evidence; retrieval alone where nothing is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.core.datatypes import Reranked
from lmm_classifier.rerank.fusion import Fusion, evidence, fit_fusion

SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=6).filter(lambda one: sum(one) > 0.01)


@given(SHARES, SHARES, st.floats(0, 3), st.floats(0, 3), st.none() | st.floats(0, 1))
def test_it_sums_to_what_retrieval_gave_the_candidates(shares, scores, a, b, none):
    """Finite, not negative, and of the same sum, so that what lies outside the candidates stays where it was."""
    count = min(len(shares), len(scores))
    retrieval = np.array(shares[:count]) / max(1.0, sum(shares[:count]))
    total = sum(scores[:count]) or 1.0
    answer = Reranked(tuple(score / total for score in scores[:count]), none_share=none)
    fused = Fusion(a, b)(retrieval, answer)
    assert np.isfinite(fused).all()
    assert (fused >= 0).all()
    assert fused.sum() == pytest.approx(retrieval.sum())


def test_by_equal_weights_it_is_bayes_rule():
    """Two independent opinions multiply."""
    fused = Fusion(1, 1)(np.array([0.6, 0.3]), Reranked((0.2, 0.8)))
    np.testing.assert_allclose(fused, 0.9 * np.array([0.12, 0.24]) / 0.36)


def test_none_of_these_takes_weight_and_no_more():
    """Sure that none fits, its choice among them does not count, and retrieval's stands."""
    shares = np.array([0.6, 0.3])
    np.testing.assert_allclose(Fusion(1, 1)(shares, Reranked((0.01, 0.99), none_share=1.0)), shares)


def made(count, trust, rng, classes=3):
    """Truth, retrieval's calibrated shares and a second opinion; `trust` 0 makes that noise, 1 honest."""
    told, truth = [], []
    for _ in range(count):
        shares = rng.dirichlet(np.ones(classes))
        true = rng.choice(classes, p=shares)
        logits = rng.normal(0, 1, classes)
        logits[true] += 1.5 * trust
        scores = np.exp(1.5 * logits) / np.exp(1.5 * logits).sum()
        told.append(evidence(shares, Reranked(tuple(scores))))
        truth.append(int(true))
    return told, truth


def loss(fusion, told, truth):
    return np.mean([-np.log(softmax(np.array([fusion.retrieval, fusion.reranker]) @ one)[true])
                    for one, true in zip(told, truth)])  # fmt: skip


def softmax(logs):
    weights = np.exp(logs - logs.max())
    return weights / weights.sum()


def test_weights_follow_the_evidence():
    """Noise gets next to no weight and retrieval keeps its own; a good second opinion gets much."""
    rng = np.random.default_rng(0)
    noise, good = fit_fusion(*made(600, 0, rng)), fit_fusion(*made(600, 1, rng))
    assert noise.reranker < 0.1
    assert noise.retrieval == pytest.approx(1, abs=0.2)
    assert good.reranker > 0.5
    told, truth = made(600, 1, rng)
    assert loss(good, told, truth) < loss(Fusion(1, 0), told, truth) - 0.1
    # no other weights near by are better on what it was fitted to
    told, truth = made(400, 1, rng)
    best = fit_fusion(told, truth)
    for a, b in ((0.2, 0), (-0.2, 0), (0, 0.2), (0, -0.2)):
        assert loss(best, told, truth) < loss(Fusion(best.retrieval + a, best.reranker + b), told, truth) + 1e-3


def test_a_contrary_opinion_is_not_turned_round():
    """A weight never falls below 0: what is always wrong is ignored, not believed the other way round."""
    rng = np.random.default_rng(1)
    assert fit_fusion(*made(400, -1, rng)).reranker == 0


def test_without_measurements_it_is_retrieval_alone():
    """The prior."""
    assert fit_fusion([], []) == Fusion(1.0, 0.0)
