"""The default rule: three voices over one within-class metric, every setting chosen by exact leave-one-out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.calibration import fit_temperature, log_loss, log_shares
from lmm_classifier.gallery import Gallery
from lmm_classifier.leave_one_out import LeaveOneOut
from lmm_classifier.metric import WithinClassMetric, WithinClassScatter, fit_scatter
from lmm_classifier.protocols import FloatArray, IntArray, VotingRule
from lmm_classifier.voting import Gaussian, Prototype, TopMean, Voices, product

Doubles = NDArray[np.float64]

SHRINKAGES = (0.03, 0.1, 0.3, 0.6, 0.9, 0.97)
_MOST_ROWS = 20_000  # examples left out, at most: a sample of them serves as well and bounds the time
_BLOCK = 4096


@dataclass(frozen=True)
class FittedVoices:
    """The metric, the temperatures of Gaussian, prototype and neighbours, and that of their product.

    `losses` says how well each shrinkage did: leave-one-out log-loss of the prototype voice, in nats.
    """

    metric: WithinClassMetric
    temperatures: tuple[float, ...]
    temperature: float
    losses: Mapping[float, float]

    def rule(self) -> VotingRule:
        """The voting rule for comparisons in the space of the metric."""
        gaussian, prototype, neighbours = self.temperatures
        return Voices([Gaussian(gaussian), Prototype(prototype), TopMean(5, neighbours)], self.temperature)


@dataclass(frozen=True)
class LeftOut:
    """What leave-one-out says of the examples `rows`: log-probabilities of all labels, (n, C)."""

    rows: IntArray
    own: IntArray  # (n,) their labels
    log_probabilities: Doubles


def fit_voices(units: FloatArray, label_ids: IntArray, labels: int) -> tuple[FittedVoices, LeftOut]:
    """Fit the rule to unit rows (N, d) with `label_ids` (N,) of `labels` labels.

    The shrinkage has the least leave-one-out log-loss of the prototype voice, whose leave-one-out needs no
    similarities. Then each voice gets the temperature of least leave-one-out log-loss, and so does their product.
    """
    scatter = fit_scatter(units, label_ids, labels)
    wanted = _sample(len(units))
    losses = {one: _prototype_loss(scatter, one, units, label_ids, labels, wanted) for one in SHRINKAGES}
    known = {one: loss for one, loss in losses.items() if np.isfinite(loss)}
    shrinkage = min(known, key=lambda one: known[one]) if known else SHRINKAGES[-1]
    metric = scatter.metric(shrinkage)
    leave_one_out = _leave_one_out(scatter, metric, units, label_ids, labels)
    voices: list[VotingRule] = [Gaussian(), Prototype(), TopMean()]
    heard = [[voice.scores(block) for voice in voices] for _, block in leave_one_out.blocks(wanted)]
    scores = [np.concatenate([block[number] for block in heard]) for number in range(len(voices))]
    own = label_ids[wanted]
    temperatures = [fit_temperature(one, own) for one in scores]
    together = product(list(zip(scores, temperatures)))
    last = fit_temperature(together, own)
    return FittedVoices(metric, tuple(temperatures), last, losses), LeftOut(wanted, own, log_shares(together / last))


def whitened(metric: WithinClassMetric, units: FloatArray, label_ids: IntArray, labels: int) -> Gallery:
    """The gallery of unit rows (N, d) in the space of the metric."""
    rows = np.empty(units.shape, np.float32)
    for start in range(0, len(units), _BLOCK):
        rows[start : start + _BLOCK] = metric.whiten(units[start : start + _BLOCK])
    return Gallery.of(rows, label_ids, labels)


def _leave_one_out(
    scatter: WithinClassScatter, metric: WithinClassMetric, units: FloatArray, label_ids: IntArray, labels: int
) -> LeaveOneOut:
    downdate = (1 - metric.shrinkage) / scatter.freedom
    return LeaveOneOut(whitened(metric, units, label_ids, labels), downdate, centred=True)


def _prototype_loss(
    scatter: WithinClassScatter, shrinkage: float, units: FloatArray, label_ids: IntArray, labels: int, rows: IntArray
) -> float:
    left_out = _leave_one_out(scatter, scatter.metric(shrinkage), units, label_ids, labels)
    scores = np.concatenate([block.mean_cosines() for _, block in left_out.without_neighbours(rows)])
    return log_loss(scores, label_ids[rows], fit_temperature(scores, label_ids[rows]))


def _sample(count: int) -> IntArray:
    """Every row, or an even sample."""
    if count <= _MOST_ROWS:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, _MOST_ROWS, replace=False))
