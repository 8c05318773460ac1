"""Fusion: the probabilities of retrieval and of the reranker become one distribution over the candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.core.datatypes import RerankResult
from lmm_classifier.core.numerics import softmax

_MIN_PROBABILITY = 1e-6  # lower ones count as this, so that one answer cannot outweigh everything else
_PRIOR_STRENGTH = 4.0  # in examples; the prior is retrieval alone, until measurements differ
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Fusion:
    """Log-linear pooling: log p = a log p_retrieval + b (1 - p_none) log p_reranker + constant.

    With calibrated retrieval and independent evidence a = b = 1 is Bayes' rule; b = 0 is retrieval alone. The
    probability of "none of these" only reduces the weight of the reranker's choice among the candidates.
    """

    retrieval: float
    """The weight a."""
    reranker: float
    """The weight b."""

    def __call__(self, probabilities: Float64Array, answer: RerankResult) -> Float64Array:
        """Fuse the probabilities of the candidates by retrieval, (k,), with an answer about them.

        The result has the sum of `probabilities`. It therefore stays the probability of each label given the image,
        and the probability outside the candidates does not change.
        """
        logs = evidence(probabilities, answer)  # (2, k)
        return np.asarray(softmax(np.array([self.retrieval, self.reranker]) @ logs) * min(1.0, probabilities.sum()))


def evidence(probabilities: Float64Array, answer: RerankResult) -> Float64Array:
    """Return the two logarithms that are pooled, (2, k): of retrieval, and of the reranker."""
    trusted = 1 - (answer.none_probability or 0.0)
    retrieval = np.log(np.maximum(probabilities, _MIN_PROBABILITY))
    reranker = trusted * np.log(np.maximum(answer.scores, _MIN_PROBABILITY))
    return np.stack([retrieval, reranker])


def fit_fusion(logs: Sequence[Float64Array], truth: Sequence[int]) -> Fusion:
    """Fit both weights, neither below 0, by the log-loss of the true candidate.

    Newton's method on a convex loss with a Gaussian prior around (1, 0): without measurements it is retrieval alone.

    Args:
        logs: `evidence` of each example, (2, k).
        truth: position of the true label of each example.
    """
    weights = np.array([1.0, 0.0])
    center = weights.copy()
    for _ in range(_STEPS):
        gradient, hessian = _PRIOR_STRENGTH * (weights - center), _PRIOR_STRENGTH * np.eye(2)
        for pair, true in zip(logs, truth):
            p = softmax(weights @ pair)  # (k,)
            mean = pair @ p
            gradient += mean - pair[:, true]
            hessian += (pair * p) @ pair.T - np.outer(mean, mean)
        free = (weights > 0) | (gradient < 0)  # a weight at 0 stays there unless the loss falls with it
        step = np.zeros(2)
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        moved = np.maximum(weights - step * min(1.0, 2.0 / max(1e-12, np.abs(step).max())), 0)
        if np.abs(moved - weights).max() < 1e-6:
            break
        weights = moved
    return Fusion(float(weights[0]), float(weights[1]))
