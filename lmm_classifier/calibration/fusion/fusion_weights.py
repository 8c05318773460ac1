"""Fits the weights of encoders by the log-loss of held-out examples.

The loss of a logarithmic opinion pool is convex in the weights (Heskes, NIPS 1998, "Selecting weighting factors in
logarithmic opinion pools"). A ridge pulls the weights towards 1 / E, their sum included: where no held-out example
is wrong, the log-loss alone would make the product more and more certain. Projected Newton steps find the minimum
(Bertsekas, 1982).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.calibration.fusion.encoder_fusion import FLOOR
from lmm_classifier.core.arrays import Float64Array, IntArray

_RIDGE = 10.0  # examples that the ridge counts for
_STEPS, _HALVINGS = 50, 30
_ENOUGH = 1e-10  # relative change of the loss at which the minimum is found
_MAX_SCORES = 4_000_000  # examples times labels: a sample of more serves as well


@dataclass(frozen=True)
class FusionWeights:
    """Weights of E encoders, 0 or more, and their standard errors over samples of examples."""

    weights: Float64Array  # (E,)
    errors: Float64Array  # (E,)

    @property
    def useful(self) -> IntArray:
        """Return the encoders whose weight is above zero beyond its error, ascending."""
        return np.flatnonzero((self.weights > 0) & (self.weights > self.errors))


def fit_weights(each: Sequence[Float64Array], label_ids: IntArray) -> FusionWeights:
    """Fit the weights of encoders.

    Args:
        each: log-probabilities (n, C) that each encoder gives to held-out examples, the same rows for all.
        label_ids: their true labels, (n,). Rows whose true label is impossible for an encoder are left aside.
    """
    rows = np.flatnonzero([np.isfinite([logs[i, own] for logs in each]).all() for i, own in enumerate(label_ids)])
    most = max(_MAX_SCORES // max(each[0].shape[1], 1), 1)
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
    loss = _Loss.of([logs[rows] for logs in each], label_ids[rows])
    weights = np.full(len(each), 1 / len(each))
    for _ in range(_STEPS):
        former = loss.value(weights)
        weights = loss.improved(weights, former)
        if former - loss.value(weights) <= _ENOUGH * (1 + abs(former)):
            break
    return FusionWeights(weights, loss.errors(weights))


@dataclass(frozen=True)
class _Loss:
    """The penalized log-loss of held-out examples as a function of the weights."""

    logs: Float64Array  # (E, n, C), 0 where a label is impossible
    impossible: Float64Array  # (n, C), -inf where a label is impossible, else 0
    own: Float64Array  # (E, n) of the true labels

    @classmethod
    def of(cls, each: Sequence[Float64Array], label_ids: IntArray) -> _Loss:
        possible = np.logical_and.reduce([np.isfinite(logs) for logs in each])
        logs = np.stack([np.where(possible, np.maximum(part, FLOOR), 0) for part in each])
        return cls(logs, np.where(possible, 0.0, -np.inf), logs[:, np.arange(len(label_ids)), label_ids])

    def _probabilities(self, weights: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return the probabilities (n, C), and the logarithms of their divisors (n,)."""
        logits = np.einsum("e,enc->nc", weights, self.logs) + self.impossible
        best = logits.max(axis=1, keepdims=True, initial=-np.inf)
        exponentials = np.exp(logits - best)
        totals = exponentials.sum(axis=1, keepdims=True)
        return exponentials / totals, (best + np.log(totals))[:, 0]

    def value(self, weights: Float64Array) -> float:
        _, divisors = self._probabilities(weights)
        penalty = _RIDGE / 2 * ((weights - 1 / len(weights)) ** 2).sum()
        return float((divisors - weights @ self.own).sum() + penalty)

    def _derivatives(self, weights: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return the gradients of the examples, (E, n), without the ridge, and the Hessian (E, E) with it."""
        probabilities, _ = self._probabilities(weights)
        means = np.einsum("nc,enc->en", probabilities, self.logs)
        second = np.einsum("nc,enc,fnc->ef", probabilities, self.logs, self.logs, optimize=True)
        return means - self.own, second - means @ means.T + _RIDGE * np.eye(len(weights))

    def improved(self, weights: Float64Array, value: float) -> Float64Array:
        """Take one projected Newton step, halved until the loss falls."""
        gradients, hessian = self._derivatives(weights)
        gradient = gradients.sum(axis=1) + _RIDGE * (weights - 1 / len(weights))
        free = np.flatnonzero((weights > 0) | (gradient < 0))
        if not len(free):
            return weights
        step = np.zeros(len(weights))
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        for halving in range(_HALVINGS):
            tried: Float64Array = np.maximum(weights - step / 2**halving, 0)
            if self.value(tried) < value:
                return tried
        return weights

    def errors(self, weights: Float64Array) -> Float64Array:
        """Return the standard errors (E,) of the weights over samples of examples (White's sandwich estimate, 1980)."""
        gradients, hessian = self._derivatives(weights)
        inverse = np.linalg.inv(hessian)
        return np.asarray(np.sqrt(np.maximum(np.diag(inverse @ (gradients @ gradients.T) @ inverse), 0)))
