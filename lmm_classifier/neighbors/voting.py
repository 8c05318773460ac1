"""How neighbours vote: similarities in, one score per label out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.numerics import log_shares
from lmm_classifier.core.protocols import Comparison, IntArray, VotingRule
from lmm_classifier.neighbors.config import RetrievalConfig

Scores = NDArray[np.float64]

_KERNEL = 0.05  # temperature of a rule whose own is null, in units of cosine similarity
_FLOOR = -16.0  # the least log-probability that one voice can give: it may doubt a label, not veto it


class SoftmaxVote:
    """The k nearest examples vote, each with weight exp(similarity / temperature).

    The score of a label is temperature x log of its summed weights, so that the softmax of the scores at
    `temperature` is the label's share of all weights. Unlike a majority it does not collapse where k exceeds the
    examples per label. (The kernel of Tip-Adapter's cache, arXiv 2207.09519, restricted to k neighbours.)
    """

    def __init__(self, label_ids: IntArray, labels: int, k: int = 20, temperature: float = 0.05) -> None:
        self.temperature = temperature
        self._label_ids = label_ids
        self._labels = labels
        self._k = k

    def scores(self, comparison: Comparison) -> Scores:
        """Return (n, C); -inf for a label that none of the k nearest has."""
        rows, similarities = comparison.nearest_each(self._k)  # (n, k)
        scores = np.full((len(comparison), self._labels), -np.inf)
        if not rows.size:
            return scores
        best = similarities[:, :1]
        with np.errstate(invalid="ignore", divide="ignore"):
            weights = np.where(rows >= 0, np.exp((similarities - best) / self.temperature), 0)
            group = np.arange(len(rows))[:, None] * self._labels + self._label_ids[rows]
            votes = np.bincount(group.ravel(), weights.ravel(), scores.size).reshape(scores.shape)  # (n, C)
            return np.asarray(np.where(np.isfinite(best), best + self.temperature * np.log(votes), -np.inf))


class TopMean:
    """Per label: the mean of its m best similarities. Keeps labels of several looks apart."""

    def __init__(self, m: int = 5, temperature: float = 0.05) -> None:
        self.temperature = temperature
        self._m = m

    def scores(self, comparison: Comparison) -> Scores:
        """Return (n, C); -inf for a label of which every example was left out."""
        return comparison.top_mean(self._m)


class Prototype:
    """Per label: the cosine to its mean example, the prototype (Snell, Swersky & Zemel, arXiv 1703.05175)."""

    def __init__(self, temperature: float = 0.05) -> None:
        self.temperature = temperature

    def scores(self, comparison: Comparison) -> Scores:
        """Return (n, C); -inf for a label of which every example was left out."""
        return comparison.mean_cosines()


class TopMeanPrototype:
    """Per label: the mean of its m best similarities, averaged with the cosine to its prototype.

    The neighbours keep labels of several looks apart, the prototype steadies labels with few examples.
    """

    def __init__(self, m: int = 3, temperature: float = 0.05) -> None:
        self.temperature = temperature
        self._m = m

    def scores(self, comparison: Comparison) -> Scores:
        """Return (n, C); -inf for a label of which every example was left out."""
        return (comparison.top_mean(self._m) + comparison.mean_cosines()) / 2


class Gaussian:
    """Per label: -1/2 the squared distance to its mean. In the within-class metric this is Gaussian discriminant
    analysis with one covariance for all labels and equal priors (Hastie, Tibshirani & Friedman, 2009, sec. 4.3).
    """

    def __init__(self, temperature: float = 1.0) -> None:
        self.temperature = temperature

    def scores(self, comparison: Comparison) -> Scores:
        """Return (n, C); -inf for a label of which every example was left out."""
        return comparison.square_distances() / -2


class Voices:
    """Several rules speak, each with its own temperature; the scores are the mean of their log-probabilities.

    That is the normalised product of their opinions (Hinton, 2002, "Training products of experts"): a label must be
    likely to all of them.
    """

    def __init__(self, voices: Sequence[VotingRule], temperature: float = 1.0) -> None:
        self.temperature = temperature
        self._voices = voices

    def scores(self, comparison: Comparison) -> Scores:
        """Return (n, C); -inf for a label of which every example was left out."""
        return product([(voice.scores(comparison), voice.temperature) for voice in self._voices])


def product(opinions: Sequence[tuple[Scores, float]]) -> Scores:
    """Mean log-probability (n, C) of opinions, each the scores (n, C) of a voice and its temperature."""
    logs = [
        np.where(np.isfinite(scores), np.maximum(log_shares(scores / temperature), _FLOOR), -np.inf)
        for scores, temperature in opinions
    ]
    return np.asarray(sum(logs) / len(logs))


@dataclass(frozen=True)
class Recipe:
    """A decision rule that is still to be fitted: its voices, and the space in which they listen."""

    name: str
    voices: tuple[VotingRule, ...]
    whitened: bool  # in the within-class metric, or else in the space of the index
    root: bool | None  # signed square root before the metric; None: where no number is negative
    fixed: bool  # the temperature was set by hand: nothing is fitted to it


def open_recipe(config: RetrievalConfig, label_ids: IntArray, labels: int) -> Recipe:
    """Make the rule that `config` names for examples with `label_ids` (N,) of `labels` labels."""
    kernel = _KERNEL if config.temperature is None else config.temperature
    voices: tuple[VotingRule, ...]
    match config.rule:
        case "auto":
            voices = (Gaussian(), Prototype(), TopMean(5))
        case "gda":
            voices = (Gaussian(config.temperature or 1.0),)
        case "softmax":
            voices = (SoftmaxVote(label_ids, labels, config.k, kernel),)
        case "tip":
            voices = (SoftmaxVote(label_ids, labels, len(label_ids), kernel),)
        case "top_mean":
            voices = (TopMean(5, kernel),)
        case "prototype":
            voices = (Prototype(kernel),)
        case "top3_prototype":
            voices = (TopMeanPrototype(3, kernel),)
    root = {"auto": None, "signed": True, "plain": False}[config.power]
    fixed = config.temperature is not None and config.rule != "auto"
    whitened = config.whitened or config.rule in ("auto", "gda")
    name = f"{config.rule} k={config.k} temperature={config.temperature} whitened={whitened} power={config.power}"
    if config.rule == "auto":
        name += f" text={config.text}"
    return Recipe(name, voices, whitened, root, fixed)
