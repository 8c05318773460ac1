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


def fit_weights(each: Sequence[Float64Array], label_ids: IntArray) -> Float64Array:
    """Return the weights (E,) of encoders, 0 or more.

    Args:
        each: log-probabilities (n, C) that each encoder gives to held-out examples, the same rows for all.
        label_ids: their true labels, (n,). Rows whose true label is impossible for an encoder are left aside.
    """
    return _Loss.of(*_countable(each, label_ids)).minimum(range(len(each)))


def weight_evidence(each: Sequence[Float64Array], label_ids: IntArray) -> Float64Array:
    """Return for each encoder how many standard errors its weight is above zero, (E,).

    It is the score test at the weight zero, with the other weights at their minimum and White's variance (Econometrica
    50(1), 1982). So the scale of its probabilities does not count: an encoder of noise, whose fitted temperature makes
    them nearly equal, has no evidence, although the ridge holds its weight. Infinite where no example tells anything.

    Args:
        each: as `fit_weights` takes it, of two encoders or more.
        label_ids: as `fit_weights` takes it.
    """
    loss = _Loss.of(*_countable(each, label_ids))
    return np.array([loss.evidence(encoder) for encoder in range(len(each))])


def _countable(each: Sequence[Float64Array], label_ids: IntArray) -> tuple[list[Float64Array], IntArray]:
    """Return the rows whose true label is possible for each encoder, or a sample of them."""
    rows = np.flatnonzero([np.isfinite([logs[i, own] for logs in each]).all() for i, own in enumerate(label_ids)])
    most = max(_MAX_SCORES // max(each[0].shape[1], 1), 1)
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
    return [logs[rows] for logs in each], label_ids[rows]


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

    def minimum(self, encoders: Sequence[int]) -> Float64Array:
        """Return the weights (E,) of the least loss; only those of `encoders` are above zero."""
        weights = np.zeros(len(self.logs))
        weights[list(encoders)] = 1 / len(weights)
        for _ in range(_STEPS):
            former = self.value(weights)
            weights = self._improved(weights, former, encoders)
            if former - self.value(weights) <= _ENOUGH * (1 + abs(former)):
                break
        return weights

    def _improved(self, weights: Float64Array, value: float, encoders: Sequence[int]) -> Float64Array:
        """Take one projected Newton step, halved until the loss falls."""
        gradients, hessian = self._derivatives(weights)
        gradient = gradients.sum(axis=1) + _RIDGE * (weights - 1 / len(weights))
        is_free = ((weights > 0) | (gradient < 0)) & np.isin(np.arange(len(weights)), encoders)
        free = np.flatnonzero(is_free)
        if not len(free):
            return weights
        step = np.zeros(len(weights))
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        for halving in range(_HALVINGS):
            tried: Float64Array = np.maximum(weights - step / 2**halving, 0)
            if self.value(tried) < value:
                return tried
        return weights

    def evidence(self, encoder: int) -> float:
        """Return how many standard errors the weight of an encoder is above zero."""
        weights = self.minimum([other for other in range(len(self.logs)) if other != encoder])
        others = np.flatnonzero(weights > 0)
        gradients, hessian = self._derivatives(weights)
        explained = np.linalg.solve(hessian[np.ix_(others, others)], hessian[others, encoder])
        of_examples = gradients[encoder] - explained @ gradients[others]  # what the other weights cannot give
        error = float(np.sqrt((of_examples**2).sum()))
        return -float(gradients[encoder].sum()) / error if error > 0 else np.inf
