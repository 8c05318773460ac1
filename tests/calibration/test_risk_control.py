"""Risk control: the binomial tail, thresholds whose guarantee holds, and reasons where none can be given."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from lmm_classifier.calibration.risk_control import (
    NoGuarantee,
    RiskGuarantee,
    binomial_cdf,
    fixed_sequence_threshold,
    min_error_free_examples,
    sgr_threshold,
)

BOTH = pytest.mark.parametrize("guarantee", [fixed_sequence_threshold, sgr_threshold])


@given(st.integers(0, 50), st.integers(1, 3000), st.floats(0, 1))
def test_the_binomial_tail_equals_that_of_scipy(errors, count, rate):
    """The sum in logarithms agrees with the incomplete beta function."""
    assert binomial_cdf(errors, count, rate) == pytest.approx(binom.cdf(errors, count, rate), abs=1e-9)


@pytest.mark.parametrize(("risk", "delta", "errors", "needed"), [(0.01, 0.1, 0, 230), (0.05, 0.05, 0, 59)])
def test_the_number_of_examples_without_an_error(risk, delta, errors, needed):
    """The known numbers; one example less is not enough."""
    assert min_error_free_examples(risk, delta, errors) == needed
    assert binomial_cdf(errors, needed - 1, risk) > delta


def ranking(rng, count, quality):
    """Draw confidences that are the true probabilities of being correct."""
    confidence = 1 - rng.beta(0.3, quality, count)
    return confidence, rng.random(count) < confidence


@BOTH
@pytest.mark.parametrize("risk", [0.02, 0.05, 0.2])
def test_guarantees_hold(guarantee, risk):
    """Over 300 datasets the true risk exceeds the bound no more often than delta allows."""
    rng = np.random.default_rng(0)
    truth, _ = ranking(rng, 200_000, 3)
    violations, given = 0, 0
    for _ in range(300):
        made = guarantee(*ranking(rng, 600, 3), risk, 0.1)
        if isinstance(made, RiskGuarantee):
            given += 1
            violations += (1 - truth[truth >= made.threshold]).mean() > risk
    assert given > 50
    assert violations <= 300 * 0.1 + 2 * np.sqrt(300 * 0.1 * 0.9)


def test_fixed_sequences_cover_more_than_sgr():
    """More answers are given under the same guarantee."""
    rng = np.random.default_rng(1)
    draws = [ranking(rng, 1500, 5) for _ in range(30)]
    coverage = {
        guarantee: np.mean(
            [made.coverage if isinstance(made := guarantee(*drawn, 0.03), RiskGuarantee) else 0 for drawn in draws]
        )
        for guarantee in (fixed_sequence_threshold, sgr_threshold)
    }
    assert coverage[fixed_sequence_threshold] > coverage[sgr_threshold]


@BOTH
def test_the_figures_of_a_guarantee(guarantee):
    """Coverage and realized risk are those of the examples at or above the threshold."""
    confidence, correct = ranking(np.random.default_rng(2), 2000, 5)
    made = guarantee(confidence, correct, 0.05)
    assert isinstance(made, RiskGuarantee)
    answered = confidence >= made.threshold
    assert made.examples == answered.sum()
    assert made.coverage == pytest.approx(answered.mean())
    assert made.realized == pytest.approx((~correct[answered]).mean())


@BOTH
def test_equal_confidences_are_answered_together(guarantee):
    """A threshold cannot separate examples of one confidence, so two confidences leave two choices."""
    confidence = np.repeat([0.9, 0.5], 500)
    correct = np.concatenate([np.ones(500, bool), np.arange(500) % 2 == 0])
    made = guarantee(confidence, correct, 0.05)
    assert isinstance(made, RiskGuarantee)
    assert (made.threshold, made.examples) == (0.9, 500)


@BOTH
def test_without_a_guarantee_the_reason_is_given(guarantee):
    """Too few examples, or too many errors among the most confident; the number needed is enough."""
    few = guarantee(np.linspace(0, 1, 50), np.ones(50, bool), 0.01)
    assert isinstance(few, NoGuarantee)
    assert "too few" in few.reason
    enough = fixed_sequence_threshold(np.linspace(0, 1, few.needed), np.ones(few.needed, bool), 0.01)
    assert isinstance(enough, RiskGuarantee)
    wrong = guarantee(np.linspace(0, 1, 1000), np.zeros(1000, bool), 0.05)
    assert isinstance(wrong, NoGuarantee)
    assert "errors" in wrong.reason


@BOTH
@pytest.mark.parametrize(("risk", "delta"), [(0, 0.1), (1, 0.1), (0.1, 0), (0.1, 1)])
def test_certainty_cannot_be_guaranteed(guarantee, risk, delta):
    """Risk and delta must lie between 0 and 1."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        guarantee(np.ones(3), np.ones(3, bool), risk, delta)
