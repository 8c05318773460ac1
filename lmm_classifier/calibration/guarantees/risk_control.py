"""Risk control: the lowest confidence threshold whose error rate stays below a bound, with a stated probability."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lmm_classifier.calibration.guarantees.effective_size import (
    effective_sizes,
    error_correlation,
    fractional_binomial_cdf,
)
from lmm_classifier.core.arrays import BoolArray, Float64Array, IntArray

# (errors allowed at the start, fraction of delta) of the chains. A chain that allows few errors starts high in the
# ranking and reaches far where the top is clean. One that allows more starts lower and survives single mistakes.
_CHAINS = ((0, 0.5), (2, 0.3), (6, 0.2))
NEVER: float = math.nextafter(1.0, 2.0)  # a threshold that no probability reaches
_STEPS = 40  # from the start of a chain to all examples


@dataclass(frozen=True)
class RiskGuarantee:
    """A threshold with a guarantee: answers at or above it are wrong at most at the rate `risk`.

    The guarantee holds with probability 1 - delta, over datasets of this size.
    """

    risk: float  # accepted error rate, 0 to 1
    delta: float  # probability that the guarantee does not hold, 0 to 1
    threshold: float  # least confidence of an accepted answer, 0 to 1
    coverage: float  # fraction of the examples that are answered, 0 to 1
    realized: float  # error rate among those, 0 to 1
    examples: int  # number of those


@dataclass(frozen=True)
class NoGuarantee:
    """No threshold has the guarantee."""

    risk: float
    delta: float
    reason: str
    needed: int  # examples without an error that would be enough


def binomial_cdf(errors: int, count: int, rate: float) -> float:
    """Return P(Bin(count, rate) <= errors), summed in logarithms."""
    if errors >= count:
        return 1.0
    if rate >= 1:
        return 0.0
    if rate <= 0:
        return 1.0
    terms = [
        math.lgamma(count + 1)
        - math.lgamma(k + 1)
        - math.lgamma(count - k + 1)
        + k * math.log(rate)
        + (count - k) * math.log1p(-rate)
        for k in range(errors + 1)
    ]
    top = max(terms)
    return min(1.0, math.exp(top) * math.fsum(math.exp(term - top) for term in terms))


def is_certified(errors: int, count: int, rate: float, delta: float) -> bool:
    """Return whether P(Bin(count, rate) <= errors) is at most `delta`; bounds answer most questions without a sum."""
    if delta < 0.5 and errors >= count * rate + 1:  # above the median
        return False
    if 0 < errors < count * rate:
        share = errors / count
        divergence = share * math.log(share / rate) + (1 - share) * math.log((1 - share) / (1 - rate))
        if -count * divergence <= math.log(delta) - 1e-6:  # Chernoff's bound, with room for rounding
            return True
    return binomial_cdf(errors, count, rate) <= delta


def min_error_free_examples(risk: float, delta: float, errors: int = 0) -> int:
    """Return the least number of examples with `errors` errors that certifies `risk` with probability 1 - delta."""
    low = high = errors + 1
    while binomial_cdf(errors, high, risk) > delta:
        high *= 2
    while low < high:
        middle = (low + high) // 2
        if binomial_cdf(errors, middle, risk) <= delta:
            high = middle
        else:
            low = middle + 1
    return low


def fixed_sequence_threshold(
    confidence: Float64Array, correct: BoolArray, risk: float, delta: float = 0.1, groups: IntArray | None = None
) -> RiskGuarantee | NoGuarantee:
    """Certify the largest part of the ranking by fixed-sequence tests (Learn then Test, arXiv 2110.01052).

    Each chain walks down the ranking in steps fixed beforehand. It stops at the first depth where the binomial tail
    exceeds its part of `delta`. The deepest depth that any chain passed is certified, for independent examples, or for
    independent groups whose examples count as `effective_size` says.

    Args:
        confidence: of held-out examples, (n,); it ranks them.
        correct: whether each was answered correctly when held out, (n,).
        risk: accepted error rate, 0 to 1.
        delta: accepted probability that the guarantee does not hold, 0 to 1.
        groups: numbers (n,) of the groups that examples depend on each other in; None where they are independent.

    Raises:
        ValueError: for a risk or delta outside 0 to 1, or arrays of different shapes.
    """
    _check(confidence, correct, risk, delta)
    ranked = np.argsort(-confidence, kind="stable")
    errors = np.cumsum(~correct[ranked], dtype=np.int64)
    ends = _ends_of_ties(confidence[ranked])
    worth = np.arange(1.0, len(ranked) + 1)
    if groups is not None:
        worth = effective_sizes(groups[ranked], error_correlation(confidence, correct, groups))
    reached = np.maximum.accumulate(worth)  # a further example of a large group may lower it
    total, best = int(reached[-1]) if len(reached) else 0, 0
    for allowed, fraction in _CHAINS:
        start = min_error_free_examples(risk, delta * fraction, allowed)
        if start > total:
            continue
        for size in np.unique(np.linspace(start, total, _STEPS + 1).round().astype(int)):
            depth = int(ends[np.searchsorted(reached, size)])  # examples of equal confidence are answered together
            size_there, errors_there = float(worth[depth - 1]), int(errors[depth - 1])
            if groups is None:
                passed = is_certified(errors_there, depth, risk, delta * fraction)
            else:
                counted = errors_there * size_there / depth
                passed = fractional_binomial_cdf(counted, size_there, risk) <= delta * fraction
            if not passed:
                break
            best = max(best, depth)
    return _guarantee(confidence[ranked], errors, best, risk, delta, total)


def sgr_threshold(
    confidence: Float64Array, correct: BoolArray, risk: float, delta: float = 0.1
) -> RiskGuarantee | NoGuarantee:
    """Find a threshold by selection with guaranteed risk (SGR).

    Binary search with a union bound (Geifman & El-Yaniv, arXiv 1705.08500). See `fixed_sequence_threshold`.
    """
    _check(confidence, correct, risk, delta)
    ranked = np.argsort(-confidence, kind="stable")
    errors = np.cumsum(~correct[ranked], dtype=np.int64)
    ends = _ends_of_ties(confidence[ranked])
    low, high, best = 1, len(ranked), 0
    part = delta / max(len(ranked).bit_length(), 1)  # the search looks at no more depths than the count has bits
    while low <= high:
        middle = (low + high) // 2
        depth = int(ends[middle - 1])
        if is_certified(int(errors[depth - 1]), depth, risk, part):
            best, low = max(best, depth), depth + 1
        else:
            high = middle - 1
    return _guarantee(confidence[ranked], errors, best, risk, delta, len(ranked))


def _guarantee(
    ranked: Float64Array, errors: IntArray, depth: int, risk: float, delta: float, total: int
) -> RiskGuarantee | NoGuarantee:
    if depth:
        return RiskGuarantee(
            risk, delta, float(ranked[depth - 1]), depth / len(ranked), errors[depth - 1] / depth, depth
        )
    needed = min_error_free_examples(risk, delta * _CHAINS[0][1])
    if needed > len(ranked):
        reason = f"{len(ranked)} examples are too few, even if all of them were correct"
    elif total < len(ranked):
        reason = f"the {len(ranked)} examples count as {total}, because groups of them are right or wrong together"
    else:
        first = int(errors[needed - 1])
        reason = f"the {needed} most confident of {len(ranked)} examples already contain {first} errors"
    return NoGuarantee(risk, delta, reason, needed)


def _ends_of_ties(ranked: Float64Array) -> IntArray:
    """Return for each rank of a descending ranking how many examples are at least as confident."""
    return np.searchsorted(-ranked, -ranked, side="right")


def _check(confidence: Float64Array, correct: BoolArray, risk: float, delta: float) -> None:
    if not 0 < risk < 1 or not 0 < delta < 1:
        raise ValueError(f"expected risk and delta between 0 and 1, got {risk} and {delta}")
    if confidence.shape != correct.shape or confidence.ndim != 1:
        raise ValueError(f"expected one flag per confidence, got {confidence.shape} and {correct.shape}")
