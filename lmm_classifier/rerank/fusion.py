"""What retrieval knows and what the second look says become one distribution over the candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.datatypes import Reranked

Doubles = NDArray[np.float64]

_LEAST = 1e-6  # a share under which no certainty is heard: one answer cannot outweigh everything else
_PRIOR = 4.0  # strength of the prior, in examples: retrieval alone, until the measurements say otherwise
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Fusion:
    """Log-linear pooling: log p = a log p_retrieval + b (1 - p_none) log p_reranker + constant.

    With calibrated retrieval and independent evidence a = b = 1 is Bayes' rule; b = 0 is retrieval alone. "None of
    these" takes weight from the choice among the candidates, no more.
    """

    retrieval: float
    reranker: float

    def __call__(self, shares: Doubles, answer: Reranked) -> Doubles:
        """Fuse retrieval's shares (k,) of the candidates with an answer about them; sums to what `shares` sum to.

        So the outcome stays a probability: that of the label, given the picture, with what lies outside the
        candidates left where it was.
        """
        told = evidence(shares, answer)  # (2, k)
        return np.asarray(_softmax(np.array([self.retrieval, self.reranker]) @ told) * min(1.0, shares.sum()))


def evidence(shares: Doubles, answer: Reranked) -> Doubles:
    """The two logs that are pooled, (2, k)."""
    trusted = 1 - (answer.none_share or 0.0)
    return np.stack([np.log(np.maximum(shares, _LEAST)), trusted * np.log(np.maximum(answer.scores, _LEAST))])


def fit_fusion(told: list[Doubles], truth: list[int]) -> Fusion:
    """Fit both weights, neither below 0, by the log-loss of the true candidate; `told` holds `evidence` (2, k).

    Newton's method on a convex loss with a Gaussian prior around (1, 0): with no measurements it is retrieval alone.
    """
    weights = np.array([1.0, 0.0])
    centre = weights.copy()
    for _ in range(_STEPS):
        slope, bend = _PRIOR * (weights - centre), _PRIOR * np.eye(2)
        for logs, true in zip(told, truth):
            p = _softmax(weights @ logs)  # (k,)
            mean = logs @ p
            slope += mean - logs[:, true]
            bend += (logs * p) @ logs.T - np.outer(mean, mean)
        free = (weights > 0) | (slope < 0)  # a weight at 0 stays there unless the loss falls with it
        step = np.zeros(2)
        step[free] = np.linalg.solve(bend[np.ix_(free, free)], slope[free])
        moved = np.maximum(weights - step * min(1.0, 2.0 / max(1e-12, np.abs(step).max())), 0)
        if np.abs(moved - weights).max() < 1e-6:
            break
        weights = moved
    return Fusion(float(weights[0]), float(weights[1]))


def _softmax(logs: Doubles) -> Doubles:
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum())
