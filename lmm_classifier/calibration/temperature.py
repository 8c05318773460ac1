"""Confidence: scores become probabilities by one temperature, fitted on examples that were left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.numerics import log_shares
from lmm_classifier.core.protocols import IntArray

Doubles = NDArray[np.float64]

_FLOOR = -1e3  # log-probabilities below it count the same
_STEPS = 25  # of the golden section: the bracket shrinks to 1e-5 of its size


def log_losses(scores: Doubles, own: IntArray, temperature: float) -> Doubles:
    """Cross-entropy in nats of the softmax of scores (n, C) / temperature, for each of the <= n usable rows.

    The targets are smoothed: 1 / (n + 2) of each goes to the other labels (Laplace's rule of succession), or else
    examples that are all right would make it ever surer. Rows whose own label has no score are left aside.
    """
    here = np.arange(len(own))
    usable = np.isfinite(scores[here, own])
    if not usable.any():
        return np.empty(0)
    scores, own, here = scores[usable], own[usable], np.arange(int(usable.sum()))
    smooth = 1 / (len(own) + 2)
    there = np.isfinite(scores)
    logs = np.where(there, np.maximum(log_shares(scores / temperature), _FLOOR), 0)
    mine = logs[here, own]
    others = (logs.sum(axis=1) - mine) / np.maximum(there.sum(axis=1) - 1, 1)
    return np.asarray(-((1 - smooth) * mine + smooth * others))


def log_loss(scores: Doubles, own: IntArray, temperature: float) -> float:
    """Mean of `log_losses`; NaN where no row is usable."""
    losses = log_losses(scores, own, temperature)
    return float(losses.mean()) if len(losses) else float("nan")


def fit_temperature(scores: Doubles, own: IntArray) -> float:
    """Find the temperature of least `log_loss` for scores (n, C) of examples whose labels are `own` (n,).

    In 1 / temperature the loss is convex, so a golden section finds its minimum. (Guo, Pleiss, Sun & Weinberger, "On
    calibration of modern neural networks", arXiv 1706.04599.)
    """
    finite = scores[np.isfinite(scores)]
    spread = float(finite.std()) if len(finite) else 0.0
    if spread == 0 or not np.isfinite(scores[np.arange(len(own)), own]).any():
        return 1.0  # nothing to tell labels apart by
    low, high = np.log(spread) - 7, np.log(spread) + 7  # beyond: a certainty, or no opinion
    ratio = (np.sqrt(5) - 1) / 2
    inner, outer = high - ratio * (high - low), low + ratio * (high - low)
    at_inner, at_outer = (log_loss(scores, own, float(np.exp(one))) for one in (inner, outer))
    for _ in range(_STEPS):
        if at_inner <= at_outer:
            high, outer, at_outer = outer, inner, at_inner
            inner = high - ratio * (high - low)
            at_inner = log_loss(scores, own, float(np.exp(inner)))
        else:
            low, inner, at_inner = inner, outer, at_outer
            outer = low + ratio * (high - low)
            at_outer = log_loss(scores, own, float(np.exp(outer)))
    return float(np.exp((low + high) / 2))
