"""Risk control: the binomial tail, thresholds whose guarantee holds, and reasons where none can be given."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import bdtr  # the binomial tail, without the checks of scipy.stats
from scipy.stats import binom

from lmm_classifier.calibration.guarantees.risk_control import (
    NoGuarantee,
    RiskGuarantee,
    binomial_cdf,
    fixed_sequence_threshold,
    is_certified,
    min_error_free_examples,
    sgr_threshold,
)

BOTH = pytest.mark.parametrize("guarantee", [fixed_sequence_threshold, sgr_threshold])


@given(st.integers(0, 50), st.integers(1, 3000), st.floats(0, 1))
def test_the_binomial_tail_equals_that_of_scipy(errors, count, rate):
    """The sum in logarithms agrees with the incomplete beta function."""
    assert binomial_cdf(errors, count, rate) == pytest.approx(binom.cdf(errors, count, rate), abs=1e-9)


@pytest.mark.parametrize(
    ("errors", "count", "rate", "expected"),
    [(3, 3, 0.5, 1.0), (2, 3, 0.5, 7 / 8), (2, 3, 1.0, 0.0), (0, 3, 0.0, 1.0), (0, 1, 0.25, 0.75), (4, 3, 0.5, 1.0)],
)
def test_the_binomial_tail_by_hand(errors, count, rate, expected):
    """Three coins and the limits of the rate; also where nothing is summed."""
    assert binomial_cdf(errors, count, rate) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("errors", "count", "rate"), [(0, 5000, 0.2), (30, 900, 0.7), (5, 40, 1e-12), (48, 49, 0.1)])
def test_tails_far_out_are_neither_lost_nor_above_one(errors, count, rate):
    """A tail of 1e-300 keeps its digits, and a sum that is rounded up stays a probability."""
    tail = binomial_cdf(errors, count, rate)
    assert tail == pytest.approx(binom.cdf(errors, count, rate), rel=1e-7, abs=1e-320)
    assert tail <= 1


@pytest.mark.parametrize("risk", [0.02, 0.1, 0.5, 0.97])
@pytest.mark.parametrize("delta", [0.3, 0.05])
@pytest.mark.parametrize("errors", [0, 1, 6])
def test_the_least_number_of_examples_is_that_of_a_search_one_by_one(risk, delta, errors):
    """The first count, from `errors` + 1 on, at which scipy's tail is at most delta."""
    counts = itertools.count(errors + 1)
    expected = next(count for count in counts if bdtr(errors, count, risk) <= delta)
    assert min_error_free_examples(risk, delta, errors) == expected


@pytest.mark.parametrize(("risk", "delta", "errors", "needed"), [(0.01, 0.1, 0, 230), (0.05, 0.05, 0, 59)])
def test_the_number_of_examples_without_an_error(risk, delta, errors, needed):
    """The known numbers; one example less is not enough."""
    assert min_error_free_examples(risk, delta, errors) == needed
    assert binomial_cdf(errors, needed - 1, risk) > delta


def ranking(rng, count, quality):
    """Draw confidences that are the true probabilities of being correct."""
    confidence = 1 - rng.beta(0.3, quality, count)
    return confidence, rng.random(count) < confidence


CHAINS = ((0, 0.5), (2, 0.3), (6, 0.2))  # errors allowed at the start, fraction of delta: together all of delta


def certified(confidence, correct, depth_of_rank, rank, risk, delta):
    """Return whether scipy's tail certifies the answers down to a rank, and how many answers those are."""
    answered = confidence >= depth_of_rank[rank - 1]
    errors, count = int((~correct[answered]).sum()), int(answered.sum())
    return bdtr(errors, count, risk) <= delta, count


def fixed_sequence_by_hand(confidence, correct, risk, delta):
    """Return how many answers the chains certify, each walked anew with scipy."""
    ranked, best = sorted(confidence, reverse=True), 0
    for allowed, fraction in CHAINS:
        ranks = range(allowed + 1, len(ranked) + 1)
        start = next((rank for rank in ranks if bdtr(allowed, rank, risk) <= delta * fraction), None)
        for step in range(41 if start else 0):
            rank = round(start + (len(ranked) - start) * step / 40)
            passes, count = certified(confidence, correct, ranked, rank, risk, delta * fraction)
            if not passes:
                break
            best = max(best, count)
    return best


def sgr_by_hand(confidence, correct, risk, delta):
    """Return how many answers the binary search certifies, where each of its tests has an equal part of delta."""
    ranked, low, high, best = sorted(confidence, reverse=True), 1, len(confidence), 0
    parts = sum(1 for power in range(64) if 2**power <= len(confidence))  # the longest path of a binary search
    while low <= high:
        passes, count = certified(confidence, correct, ranked, (low + high) // 2, risk, delta / parts)
        if passes:
            low, best = count + 1, max(best, count)
        else:
            high = (low + high) // 2 - 1
    return best


@pytest.mark.parametrize(
    ("guarantee", "by_hand"), [(fixed_sequence_threshold, fixed_sequence_by_hand), (sgr_threshold, sgr_by_hand)]
)
def test_the_threshold_is_that_of_the_procedure_by_hand(guarantee, by_hand):
    """For 80 rankings of all sizes and qualities, some with ties, the certified depth equals the recomputed one."""
    rng, depths = np.random.default_rng(5), []
    for number in range(80):
        count = int(rng.integers(1, 320))
        confidence, correct = ranking(rng, count, rng.choice([1.5, 4, 12]))
        if number % 3 == 0:
            confidence = confidence.round(1)
        risk, delta = rng.choice([0.05, 0.15, 0.4]), rng.choice([0.05, 0.1, 0.3])
        made, depth = guarantee(confidence, correct, risk, delta), by_hand(confidence, correct, risk, delta)
        assert (made.examples if isinstance(made, RiskGuarantee) else 0) == depth
        if depth:
            answered = confidence >= made.threshold
            assert (made.risk, made.delta, made.examples) == (risk, delta, answered.sum())
            assert (made.coverage, made.realized) == (depth / count, (~correct[answered]).mean())
            assert made.threshold == np.sort(confidence)[-depth]
        depths.append(depth)
    assert sum(depth > 0 for depth in depths) > 20


@pytest.mark.parametrize(
    ("guarantee", "by_hand"), [(fixed_sequence_threshold, fixed_sequence_by_hand), (sgr_threshold, sgr_by_hand)]
)
@pytest.mark.parametrize("risk", [0.5, 0.8, 0.97])
def test_every_outcome_of_few_examples_has_the_threshold_of_the_procedure_by_hand(guarantee, by_hand, risk):
    """All that can happen with one to seven examples; no tail equals a part of delta, which rounding would decide."""
    depths = set()
    for count in range(1, 8):
        confidence = np.linspace(1, 0.5, count)
        for outcomes in itertools.product([False, True], repeat=count):
            made = guarantee(confidence, np.array(outcomes), risk, 0.24)
            depth = by_hand(confidence, np.array(outcomes), risk, 0.24)
            assert (made.examples if isinstance(made, RiskGuarantee) else 0) == depth
            depths.add(depth)
    assert len(depths) > 3


@BOTH
@pytest.mark.parametrize("count", [8, 10])
@pytest.mark.parametrize("delta", [0.1, 0.25])
def test_over_all_outcomes_the_guarantee_fails_at_most_with_probability_delta(guarantee, count, delta):
    """Every answer is wrong a little too often, so that each guarantee is a failure: their probability is summed."""
    risk, rate = 0.5, 0.5 + 1e-9
    failed = 0.0
    for outcomes in itertools.product([False, True], repeat=count):
        made = guarantee(np.linspace(1, 0.5, count), np.array(outcomes), risk, delta)
        wrong = count - sum(outcomes)
        failed += isinstance(made, RiskGuarantee) * rate**wrong * (1 - rate) ** (count - wrong)
    assert failed <= delta
    assert failed > 0 or (guarantee, delta) == (sgr_threshold, 0.1)  # whose search starts too deep for so few


@BOTH
@pytest.mark.parametrize(
    "risk", [pytest.param(0.02, marks=pytest.mark.long), 0.05, pytest.param(0.2, marks=pytest.mark.long)]
)
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
    correct = np.ones(1000, bool)
    correct[-40:] = False
    wrong = guarantee(np.linspace(0, 1, 1000), correct, 0.05)
    reason = "the 59 most confident of 1000 examples already contain 40 errors"
    assert wrong == NoGuarantee(0.05, 0.1, reason, 59)
    just_enough = guarantee(np.linspace(0, 1, 59), np.zeros(59, bool), 0.05)
    assert just_enough.reason == "the 59 most confident of 59 examples already contain 59 errors"
    assert guarantee(np.ones(0), np.ones(0, bool), 0.05).reason.startswith("0 examples are too few")


@BOTH
@pytest.mark.parametrize(("risk", "delta"), [(0, 0.1), (1, 0.1), (0.1, 0), (0.1, 1)])
def test_certainty_cannot_be_guaranteed(guarantee, risk, delta):
    """Risk and delta must lie between 0 and 1."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        guarantee(np.ones(3), np.ones(3, bool), risk, delta)


@BOTH
@pytest.mark.parametrize("shape", [(3, 1), (2,)])
def test_each_confidence_has_its_flag(guarantee, shape):
    """Other shapes are refused, and the message gives both."""
    with pytest.raises(ValueError, match=r"one flag per confidence, got \(3"):
        guarantee(np.ones((3, *shape[1:])), np.ones(shape, bool), 0.1)


@given(
    st.integers(1, 3000),
    st.floats(0.0, 1.0),
    st.floats(0.001, 0.999),
    st.one_of(st.floats(1e-6, 0.999), st.just(0.5), st.just(0.05)),
)
def test_bounds_answer_as_the_sum_does(count, share, rate, delta):
    """Also next to the mean, where the sum decides."""
    for errors in {round(share * count), round(rate * count), min(round(rate * count) + 1, count)}:
        assert is_certified(errors, count, rate, delta) == (binomial_cdf(errors, count, rate) <= delta)
