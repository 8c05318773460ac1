"""Softmax, its logarithm, and connected components: small computations that several rooms need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from lmm_classifier.core.arrays import Float64Array, IntArray


def log_softmax(scores: Float64Array) -> Float64Array:
    """Return the logarithm of the softmax of scores (..., C); -inf stays -inf, a row of -inf too."""
    best = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    shifted = scores - np.where(np.isfinite(best), best, 0)
    total = np.exp(shifted).sum(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.where(total > 0, total, 1)))


def softmax(scores: Float64Array, temperature: float = 1.0) -> Float64Array:
    """Return probabilities (..., C), the softmax of scores at `temperature`; all 0 where every score is -inf."""
    best = scores.max(axis=-1, keepdims=True)
    weights = np.exp((scores - np.where(np.isfinite(best), best, 0)) / temperature)
    total = weights.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(weights, total, out=np.zeros_like(weights), where=total > 0))


def connected_components(count: int, pairs: Iterable[tuple[int, int]]) -> IntArray:
    """Number the connected components of a graph with `count` nodes, (count,); each bears its least node's number."""
    neighbors: dict[int, list[int]] = defaultdict(list)
    for first, second in pairs:
        neighbors[first].append(second)
        neighbors[second].append(first)
    components = np.full(count, -1, np.int64)
    for start in range(count):
        waiting = [start] if components[start] < 0 else []
        while waiting:
            node = waiting.pop()
            if components[node] < 0:
                components[node] = start
                waiting += neighbors[node]
    return components
