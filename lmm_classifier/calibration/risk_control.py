"""Thresholds from promises: how far down the ranking may one go and keep the error below a bound?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]

# (errors allowed at the start, share of delta) of the chains; few errors start high in the ranking and reach far where
# it is clean, more errors start lower and survive single mistakes near the top
_CHAINS = ((0, 0.5), (2, 0.3), (6, 0.2))
_STEPS = 40  # from the start of a chain to all examples


@dataclass(frozen=True)
class Promise:
    """A threshold and what it is expected to do.

    With probability 1 - delta at least, over corpora, answers at or above `threshold` are wrong no more often than
    `risk`; `coverage` is the share of examples that are answered, `realised` their share of errors.
    """

    risk: float
    delta: float
    threshold: float
    coverage: float
    realised: float
    examples: int


@dataclass(frozen=True)
class Refusal:
    """No threshold can keep the promise: why, and how many faultless examples it would take."""

    risk: float
    delta: float
    reason: str
    needed: int


def binomial_cdf(errors: int, count: int, rate: float) -> float:
    """P(Bin(count, rate) <= errors), summed in logarithms."""
    if errors >= count:
        return 1.0
    if rate >= 1:
        return 0.0
    if rate <= 0:
        return 1.0
    terms = [
        math.lgamma(count + 1)
        - math.lgamma(one + 1)
        - math.lgamma(count - one + 1)
        + one * math.log(rate)
        + (count - one) * math.log1p(-rate)
        for one in range(errors + 1)
    ]
    top = max(terms)
    return min(1.0, math.exp(top) * math.fsum(math.exp(term - top) for term in terms))


def faultless_needed(risk: float, delta: float, errors: int = 0) -> int:
    """The least number of examples with `errors` errors that certifies `risk` at confidence 1 - delta."""
    low, high = errors + 1, errors + 2
    while binomial_cdf(errors, high, risk) > delta:
        high *= 2
    while low < high:
        middle = (low + high) // 2
        if binomial_cdf(errors, middle, risk) <= delta:
            high = middle
        else:
            low = middle + 1
    return low


def promise_by_chains(confidence: Doubles, right: Flags, risk: float, delta: float = 0.1) -> Promise | Refusal:
    """Certify the largest part of the ranking by fixed-sequence tests (Learn then Test, arXiv 2110.01052).

    `confidence` (n,) ranks the examples, `right` (n,) says which were answered right when left out. Each chain walks
    down the ranking in steps fixed beforehand and stops at the first depth where the binomial tail exceeds its share
    of `delta`; the deepest depth that any chain passed is certified. The guarantee supposes independent examples.
    """
    _check(confidence, right, risk, delta)
    ranked = np.argsort(-confidence, kind="stable")
    errors = np.cumsum(~right[ranked], dtype=np.int64)
    ends = _ends_of_ties(confidence[ranked])
    best = 0
    for allowed, share in _CHAINS:
        start = faultless_needed(risk, delta * share, allowed)
        if start > len(ranked):
            continue
        for place in np.unique(np.linspace(start, len(ranked), _STEPS + 1).round().astype(int)):
            depth = int(ends[place - 1])  # examples of equal confidence are answered together
            if binomial_cdf(int(errors[depth - 1]), depth, risk) > delta * share:
                break
            best = max(best, depth)
    return _promise(confidence[ranked], errors, best, risk, delta)


def promise_by_sgr(confidence: Doubles, right: Flags, risk: float, delta: float = 0.1) -> Promise | Refusal:
    """Selection with guaranteed risk: binary search with a union bound (Geifman & El-Yaniv, arXiv 1705.08500)."""
    _check(confidence, right, risk, delta)
    ranked = np.argsort(-confidence, kind="stable")
    errors = np.cumsum(~right[ranked], dtype=np.int64)
    ends = _ends_of_ties(confidence[ranked])
    low, high, best = 1, len(ranked), 0
    share = delta / max(math.ceil(math.log2(max(len(ranked), 2))), 1)
    while low <= high:
        middle = (low + high) // 2
        depth = int(ends[middle - 1])
        if binomial_cdf(int(errors[depth - 1]), depth, risk) <= share:
            best, low = max(best, depth), depth + 1
        else:
            high = middle - 1
    return _promise(confidence[ranked], errors, best, risk, delta)


def _promise(ranked: Doubles, errors: NDArray[np.int64], depth: int, risk: float, delta: float) -> Promise | Refusal:
    if depth:
        return Promise(risk, delta, float(ranked[depth - 1]), depth / len(ranked), errors[depth - 1] / depth, depth)
    needed = faultless_needed(risk, delta * _CHAINS[0][1])
    if needed > len(ranked):
        reason = f"{len(ranked)} examples are too few to promise it, even if all of them were answered right"
    else:
        first = int(errors[needed - 1])
        reason = f"the {needed} surest of {len(ranked)} examples already hold {first} errors, too many to promise it"
    return Refusal(risk, delta, reason, needed)


def _ends_of_ties(ranked: Doubles) -> NDArray[np.int64]:
    """For each place in a descending ranking, how many examples are at least as confident."""
    return np.searchsorted(-ranked, -ranked, side="right")


def _check(confidence: Doubles, right: Flags, risk: float, delta: float) -> None:
    if not 0 < risk < 1 or not 0 < delta < 1:
        raise ValueError(f"expected risk and delta between 0 and 1, got {risk} and {delta}")
    if confidence.shape != right.shape or confidence.ndim != 1:
        raise ValueError(f"expected one flag per confidence, got {confidence.shape} and {right.shape}")
