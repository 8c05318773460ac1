"""Promises: the binomial tail, certified thresholds that hold, refusals that say what is missing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from lmm_classifier.calibration.risk_control import (
    Promise,
    Refusal,
    binomial_cdf,
    faultless_needed,
    promise_by_chains,
    promise_by_sgr,
)
from lmm_classifier.neighbors.novelty import keep_known_threshold

BOTH = pytest.mark.parametrize("promise", [promise_by_chains, promise_by_sgr])


@given(st.integers(0, 50), st.integers(1, 3000), st.floats(0, 1))
def test_binomial_tail_is_scipys(errors, count, rate):
    """The sum in logarithms agrees with the incomplete beta function."""
    assert binomial_cdf(errors, count, rate) == pytest.approx(binom.cdf(errors, count, rate), abs=1e-9)


@pytest.mark.parametrize(("risk", "delta", "errors", "needed"), [(0.01, 0.1, 0, 230), (0.05, 0.05, 0, 59)])
def test_faultless_needed(risk, delta, errors, needed):
    """The classic numbers, and the one before them is not enough."""
    assert faultless_needed(risk, delta, errors) == needed
    assert binomial_cdf(errors, needed - 1, risk) > delta


def ranking(rng, count, quality):
    """Confidences that are true probabilities of being right."""
    confidence = 1 - rng.beta(0.3, quality, count)
    return confidence, rng.random(count) < confidence


@BOTH
@pytest.mark.parametrize("risk", [0.02, 0.05, 0.2])
def test_promises_are_kept(promise, risk):
    """Over 300 corpora no more are broken than delta allows, by the true risk above the threshold."""
    rng = np.random.default_rng(0)
    truth, _ = ranking(rng, 200_000, 3)
    broken, given_ = 0, 0
    for _ in range(300):
        made = promise(*ranking(rng, 600, 3), risk, 0.1)
        if isinstance(made, Promise):
            given_ += 1
            broken += (1 - truth[truth >= made.threshold]).mean() > risk
    assert given_ > 50  # or there was nothing to break
    assert broken <= 300 * 0.1 + 2 * np.sqrt(300 * 0.1 * 0.9)


def test_chains_cover_more_than_sgr():
    """What they are for: more answers under the same promise."""
    rng = np.random.default_rng(1)
    draws = [ranking(rng, 1500, 5) for _ in range(30)]
    coverage = {
        promise: np.mean([made.coverage if isinstance(made := promise(*one, 0.03), Promise) else 0 for one in draws])
        for promise in (promise_by_chains, promise_by_sgr)
    }
    assert coverage[promise_by_chains] > coverage[promise_by_sgr]


@BOTH
def test_what_a_promise_says(promise):
    """Coverage and realised risk are those of the examples at or above the threshold."""
    confidence, right = ranking(np.random.default_rng(2), 2000, 5)
    made = promise(confidence, right, 0.05)
    assert isinstance(made, Promise)
    answered = confidence >= made.threshold
    assert made.examples == answered.sum()
    assert made.coverage == pytest.approx(answered.mean())
    assert made.realised == pytest.approx((~right[answered]).mean())


@BOTH
def test_equal_confidences_are_answered_together(promise):
    """A threshold cannot cut through examples of one confidence: a corpus of two confidences has two choices."""
    confidence = np.repeat([0.9, 0.5], 500)
    right = np.concatenate([np.ones(500, bool), np.arange(500) % 2 == 0])
    made = promise(confidence, right, 0.05)
    assert isinstance(made, Promise)
    assert (made.threshold, made.examples) == (0.9, 500)


@BOTH
def test_refusals_say_what_is_missing(promise):
    """Too few examples, or too many errors among the surest; the number needed is real."""
    few = promise(np.linspace(0, 1, 50), np.ones(50, bool), 0.01)
    assert isinstance(few, Refusal)
    assert "too few" in few.reason
    enough = promise_by_chains(np.linspace(0, 1, few.needed), np.ones(few.needed, bool), 0.01)
    assert isinstance(enough, Promise)
    wrong = promise(np.linspace(0, 1, 1000), np.zeros(1000, bool), 0.05)
    assert isinstance(wrong, Refusal)
    assert "errors" in wrong.reason


@BOTH
@pytest.mark.parametrize(("risk", "delta"), [(0, 0.1), (1, 0.1), (0.1, 0), (0.1, 1)])
def test_impossible_wishes(promise, risk, delta):
    """Certainty cannot be promised."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        promise(np.ones(3), np.ones(3, bool), risk, delta)


@pytest.mark.parametrize("keep", [0.8, 0.95, 0.99])
def test_the_known_are_kept(keep):
    """On average over corpora, as many new pictures pass as promised; ties and a small corpus keep more."""
    rng = np.random.default_rng(3)
    kept = [(rng.normal(size=2000) >= keep_known_threshold(rng.normal(size=300), keep)).mean() for _ in range(200)]
    assert keep - 0.005 <= np.mean(kept) <= keep + 0.01
    assert (np.zeros(10) >= keep_known_threshold(np.zeros(10), keep)).all()
    assert (np.arange(5.0) >= keep_known_threshold(np.arange(5.0), 0.95)).all()


def test_nothing_to_keep():
    """A share that is none, and a corpus without neighbours, are refused."""
    with pytest.raises(ValueError, match="share between"):
        keep_known_threshold(np.zeros(3), 1.0)
    with pytest.raises(ValueError, match="neighbour"):
        keep_known_threshold(np.array([-np.inf]), 0.9)
