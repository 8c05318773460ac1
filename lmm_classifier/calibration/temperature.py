"""Temperature scaling: scores become probabilities by one temperature, fitted on held-out examples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lmm_classifier.calibration.sparse.sparse_scores import SparseScores
from lmm_classifier.core.arrays import Float64Array, IntArray

_FLOOR = -1e3  # log-probabilities below it count the same
_HELD = 1 << 17  # scores at a time: what is made of them stays in the cache, 1 MB
_STEPS = 25  # of the golden section: the bracket shrinks to 1e-5 of its size


class _UsableRows:
    """The scores (n, C) of the rows whose true label has one, and what no temperature changes about them."""

    def __init__(self, scores: Float64Array, label_ids: IntArray) -> None:
        usable = np.isfinite(scores[np.arange(len(label_ids)), label_ids])
        self.scores, self.label_ids = scores[usable], label_ids[usable]
        self.rows = np.arange(len(self.label_ids))
        self.missing = ~np.isfinite(self.scores)
        self.others = np.maximum((~self.missing).sum(axis=1) - 1, 1)
        self.any_missing = bool(self.missing.any())
        best = self.scores.max(axis=1, keepdims=True, initial=-np.inf)
        self.best = np.where(np.isfinite(best), best, 0)
        self.smoothing = 1 / (len(self.label_ids) + 2)

    def losses(self, temperature: float) -> Float64Array:
        """Return what `log_losses` tells, (n,); as `log_softmax`, but block by block, for a search tries many."""
        losses, size = np.empty(len(self.rows)), max(_HELD // max(self.scores.shape[1], 1), 1)
        for start in range(0, len(losses), size):
            part = slice(start, start + size)
            losses[part] = self._losses(part, temperature)
        return losses

    def _losses(self, part: slice, temperature: float) -> Float64Array:
        logs = self.scores[part] / temperature
        logs -= self.best[part] / temperature
        logs -= np.log(np.add.reduce(np.exp(logs), axis=1, keepdims=True))
        np.maximum(logs, _FLOOR, out=logs)
        if self.any_missing:
            logs[self.missing[part]] = 0
        own = logs[np.arange(len(logs)), self.label_ids[part]]
        others = (np.add.reduce(logs, axis=1) - own) / self.others[part]
        return np.asarray(-((1 - self.smoothing) * own + self.smoothing * others))

    def loss(self, temperature: float) -> float:
        """Return the mean of the losses; NaN where no row is usable."""
        return float(np.add.reduce(self.losses(temperature)) / len(self.rows)) if len(self.rows) else float("nan")


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
    return _UsableRows(scores, label_ids).losses(temperature)


def log_loss(scores: Float64Array, label_ids: IntArray, temperature: float) -> float:
    """Return the mean of `log_losses`; NaN where no row is usable."""
    return _UsableRows(scores, label_ids).loss(temperature)


def fit_temperature(scores: Float64Array, label_ids: IntArray) -> float:
    """Find the temperature of least `log_loss` for scores (n, C) of examples with true labels `label_ids` (n,).

    The loss is convex in 1 / temperature, so a golden section finds its minimum. (Guo, Pleiss, Sun & Weinberger, "On
    calibration of modern neural networks", arXiv 1706.04599.)
    """
    usable = _UsableRows(scores, label_ids)
    if not len(usable.rows):
        return 1.0
    return _temperature_of_least(usable.loss, float(scores[np.isfinite(scores)].std()))


def _temperature_of_least(loss: Callable[[float], float], spread: float) -> float:
    """Find the temperature of the least loss around the `spread` of the scores, their standard deviation."""
    if spread == 0:
        return 1.0  # the scores do not tell labels apart
    low, high = np.log(spread) - 7, np.log(spread) + 7  # beyond: certainty on one side, equal odds on the other
    ratio = (np.sqrt(5) - 1) / 2
    inner, outer = high - ratio * (high - low), low + ratio * (high - low)
    at_inner, at_outer = (loss(float(np.exp(point))) for point in (inner, outer))
    for _ in range(_STEPS):
        if at_inner <= at_outer:
            high, outer, at_outer = outer, inner, at_inner
            inner = high - ratio * (high - low)
            at_inner = loss(float(np.exp(inner)))
        else:
            low, inner, at_inner = inner, outer, at_outer
            outer = low + ratio * (high - low)
            at_outer = loss(float(np.exp(outer)))
    return float(np.exp((low + high) / 2))


def sparse_log_losses(scores: SparseScores, label_ids: IntArray, temperature: float) -> Float64Array:
    """Return what `log_losses` tells, for sparse scores."""
    return _SparseRows(scores, label_ids).losses(temperature)


def fit_sparse_temperature(scores: SparseScores, label_ids: IntArray) -> float:
    """Find what `fit_temperature` finds, for sparse scores."""
    usable = _SparseRows(scores, label_ids)
    if not len(usable.scores):
        return 1.0
    finite = np.isfinite(scores.scores)
    values, counts = scores.scores[finite], scores.counts[finite]
    spread = float(np.sqrt(np.average((values - np.average(values, weights=counts)) ** 2, weights=counts)))
    return _temperature_of_least(usable.loss, spread)


class _SparseRows:
    """The same as `_UsableRows` for sparse scores: each column counts as many labels as it stands for."""

    def __init__(self, scores: SparseScores, label_ids: IntArray) -> None:
        columns = scores.columns_of(label_ids)
        usable = np.flatnonzero(columns >= 0)
        self.scores, self.own = scores.rows(usable), columns[usable]
        self.others = np.maximum(self.scores.counts.sum(axis=1) - 1, 1)
        self.smoothing = 1 / (len(usable) + 2)

    def losses(self, temperature: float) -> Float64Array:
        logs = np.maximum(self.scores.log_softmax(temperature).scores, _FLOOR)
        own = logs[np.arange(len(logs)), self.own]
        others = ((self.scores.counts * logs).sum(axis=1) - own) / self.others
        return np.asarray(-((1 - self.smoothing) * own + self.smoothing * others))

    def loss(self, temperature: float) -> float:
        return float(self.losses(temperature).mean()) if len(self.own) else float("nan")
