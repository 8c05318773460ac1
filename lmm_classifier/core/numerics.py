"""Numbers that several rooms need: softmax and its logarithm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


def log_shares(scores: Doubles) -> Doubles:
    """Logarithm of the softmax of scores (n, C); -inf stays -inf, and a row of nothing else is all -inf."""
    best = scores.max(axis=1, keepdims=True, initial=-np.inf)
    shifted = scores - np.where(np.isfinite(best), best, 0)
    total = np.exp(shifted).sum(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.where(total > 0, total, 1)))


def shares(scores: Doubles, temperature: float) -> Doubles:
    """Softmax of scores (..., C) at `temperature`: shares 0..1 that sum to 1; all 0 where every score is -inf."""
    best = scores.max(axis=-1, keepdims=True)
    weights = np.exp((scores - np.where(np.isfinite(best), best, 0)) / temperature)
    total = weights.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(weights, total, out=np.zeros_like(weights), where=total > 0))
