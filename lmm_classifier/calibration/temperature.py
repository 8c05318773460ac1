"""Temperature scaling: scores become probabilities by one temperature, fitted on held-out examples."""

from __future__ import annotations

import numpy as np

from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.core.numerics import log_softmax

_FLOOR = -1e3  # log-probabilities below it count the same
_STEPS = 25  # of the golden section: the bracket shrinks to 1e-5 of its size


def log_losses(scores: Float64Array, label_ids: IntArray, temperature: float) -> Float64Array:
    """Return the cross-entropy, in nats, of each usable row of the softmax of scores / temperature.

    The targets are smoothed: 1 / (n + 2) of each goes to the other labels (Laplace's rule of succession). Otherwise
    examples that are all correct would make the temperature fall without end. Rows whose true label has no score are
    left aside.

    Args:
        scores: (n, C), -inf for a label without a score.
        label_ids: true labels, (n,).
        temperature: above 0.
    """
    rows = np.arange(len(label_ids))
    usable = np.isfinite(scores[rows, label_ids])
    if not usable.any():
        return np.empty(0)
    scores, label_ids, rows = scores[usable], label_ids[usable], np.arange(int(usable.sum()))
    smoothing = 1 / (len(label_ids) + 2)
    finite = np.isfinite(scores)
    logs = np.where(finite, np.maximum(log_softmax(scores / temperature), _FLOOR), 0)
    own = logs[rows, label_ids]
    others = (logs.sum(axis=1) - own) / np.maximum(finite.sum(axis=1) - 1, 1)
    return np.asarray(-((1 - smoothing) * own + smoothing * others))


def log_loss(scores: Float64Array, label_ids: IntArray, temperature: float) -> float:
    """Return the mean of `log_losses`; NaN where no row is usable."""
    losses = log_losses(scores, label_ids, temperature)
    return float(losses.mean()) if len(losses) else float("nan")


def fit_temperature(scores: Float64Array, label_ids: IntArray) -> float:
    """Find the temperature of least `log_loss` for scores (n, C) of examples with true labels `label_ids` (n,).

    The loss is convex in 1 / temperature, so a golden section finds its minimum. (Guo, Pleiss, Sun & Weinberger, "On
    calibration of modern neural networks", arXiv 1706.04599.)
    """
    if not np.isfinite(scores[np.arange(len(label_ids)), label_ids]).any():
        return 1.0  # no row is usable
    spread = float(scores[np.isfinite(scores)].std())
    if spread == 0:
        return 1.0  # the scores do not tell labels apart
    low, high = np.log(spread) - 7, np.log(spread) + 7  # beyond: certainty on one side, equal odds on the other
    ratio = (np.sqrt(5) - 1) / 2
    inner, outer = high - ratio * (high - low), low + ratio * (high - low)
    at_inner, at_outer = (log_loss(scores, label_ids, float(np.exp(point))) for point in (inner, outer))
    for _ in range(_STEPS):
        if at_inner <= at_outer:
            high, outer, at_outer = outer, inner, at_inner
            inner = high - ratio * (high - low)
            at_inner = log_loss(scores, label_ids, float(np.exp(inner)))
        else:
            low, inner, at_inner = inner, outer, at_outer
            outer = low + ratio * (high - low)
            at_outer = log_loss(scores, label_ids, float(np.exp(outer)))
    return float(np.exp((low + high) / 2))
