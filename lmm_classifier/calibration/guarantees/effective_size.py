"""How many independent examples a group of dependent ones is worth, such as several images of one object.

Errors come together: if one image of an object is classified wrongly, the others probably are. A bound for independent
examples is then too low. Counts of errors and of examples are therefore divided by the design effect, the factor
by which the groups raise the variance (Rao & Scott, "A simple method for the analysis of clustered binary data",
Biometrics 48, 1992). The counts are fractions then, for which the incomplete beta function continues the binomial
distribution (Korn & Graubard, "Confidence intervals for proportions with small expected number of positive counts
estimated from survey data", Survey Methodology 24, 1998).
"""

from __future__ import annotations

import math

import numpy as np

from lmm_classifier.core.arrays import BoolArray, Float64Array, IntArray

_MOST_TERMS, _PRECISION, _TINY = 10_000, 1e-13, 1e-300


def error_correlation(confidence: Float64Array, correct: BoolArray, groups: IntArray) -> float:
    """Return the correlation, 0 to 1, of the errors of examples of one group, beyond what their confidence tells.

    Args:
        confidence: probabilities of the predicted labels of n examples, (n,).
        correct: whether these labels are the true ones, (n,).
        groups: numbers of their groups, (n,).
    """
    residual = ~correct - (1 - confidence)
    spread = np.sqrt(np.maximum(confidence * (1 - confidence), 0))
    _, numbers = np.unique(groups, return_inverse=True)
    together, expected = _sum_over_pairs(residual, numbers), _sum_over_pairs(spread, numbers)
    return float(np.clip(together / expected, 0, 1)) if expected > 0 else 0.0


def effective_sizes(ranked_groups: IntArray, correlation: float) -> Float64Array:
    """Return what the first 1, 2, ... n examples are worth, (n,), for the groups (n,) in the order of a ranking."""
    size = np.arange(1, len(ranked_groups) + 1, dtype=np.float64)
    order = np.argsort(ranked_groups, kind="stable")
    grouped = ranked_groups[order]
    first = np.searchsorted(grouped, grouped)
    before = np.empty(len(order))
    before[order] = np.arange(len(order)) - first  # examples of the same group that come earlier
    squares = np.cumsum(2 * before + 1)  # sum of the squared sizes of the groups so far
    return np.asarray(size / (1 + (squares / size - 1) * correlation))


def fractional_binomial_cdf(errors: float, count: float, rate: float) -> float:
    """Return P(Bin(count, rate) <= errors) for any numbers 0 <= errors <= count, where 0 < rate < 1.

    It is the incomplete beta function I(1 - rate; count - errors, errors + 1), by its continued fraction.

    Example:
        >>> round(fractional_binomial_cdf(2, 10, 0.3), 6), round(fractional_binomial_cdf(2.5, 10, 0.3), 6)
        (0.382783, 0.519251)
    """
    if errors >= count:
        return 1.0
    a, b, x = count - errors, errors + 1, 1 - rate
    logs = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rate)
    if x < (a + 1) / (a + b + 2):
        return min(1.0, math.exp(logs) * _continued_fraction(a, b, x) / a)
    return max(0.0, 1 - math.exp(logs) * _continued_fraction(b, a, rate) / b)


def _continued_fraction(a: float, b: float, x: float) -> float:
    """Evaluate the continued fraction of the incomplete beta function by Lentz's method; x < (a + 1) / (a + b + 2)."""
    numerator, denominator = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    value = denominator
    for k in range(1, _MOST_TERMS):
        for term in (
            k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k)),
            -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1)),
        ):
            denominator = 1 / _away_from_zero(1 + term * denominator)
            numerator = _away_from_zero(1 + term / numerator)
            value *= numerator * denominator
        if abs(numerator * denominator - 1) < _PRECISION:
            break
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _sum_over_pairs(values: Float64Array, numbers: IntArray) -> float:
    """Return the sum of the products of all ordered pairs of different values (n,) with equal numbers (n,)."""
    return float(np.square(np.bincount(numbers, values)).sum() - np.square(values).sum())
