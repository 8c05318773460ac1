"""How many independent examples a group of dependent ones is worth, such as several images of one object.

Errors come together: if one image of an object is classified wrongly, the others probably are. A bound for independent
examples is then too low. Counts of errors and of examples are therefore divided by the design effect, the factor
by which the groups raise the variance (Rao & Scott, "A simple method for the analysis of clustered binary data",
Biometrics 48, 1992).
"""

from __future__ import annotations

import numpy as np

from lmm_classifier.core.arrays import BoolArray, Float64Array, IntArray


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


def _sum_over_pairs(values: Float64Array, numbers: IntArray) -> float:
    """Return the sum of the products of all ordered pairs of different values (n,) with equal numbers (n,)."""
    return float(np.square(np.bincount(numbers, values)).sum() - np.square(values).sum())
