"""Voting rules: similarities in, one score per label out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.core.numerics import log_softmax
from lmm_classifier.core.protocols import Similarities, VotingRule
from lmm_classifier.neighbors.config import RetrievalConfig

_KERNEL = 0.05  # temperature of a rule whose own is null, in units of cosine similarity
_FLOOR = -16.0  # the least log-probability of one expert: it can make a label unlikely, but not exclude it


class WeightedKnn:
    """The k nearest examples vote, each with weight exp(similarity / temperature).

    The score of a label is temperature x log of the sum of its weights. So the softmax of the scores at `temperature`
    is the label's fraction of all weights. Unlike a majority vote it works where k exceeds the examples per label.
    scikit-learn's `KNeighborsClassifier(weights=...)` is similar. The weights are those of Tip-Adapter's cache (arXiv
    2207.09519), restricted to k neighbors. n queries, C labels.
    """

    def __init__(self, label_ids: IntArray, labels: int, k: int, temperature: float) -> None:
        self.temperature = temperature
        self._label_ids = label_ids
        self._labels = labels
        self._k = k

    def scores(self, similarities: Similarities) -> Float64Array:
        """Return scores (n, C); -inf for a label that none of the k nearest has."""
        rows, cosines = similarities.nearest_each(self._k)  # (n, k)
        scores = np.full((len(similarities), self._labels), -np.inf)
        if not rows.size:
            return scores
        best = cosines[:, :1]
        with np.errstate(invalid="ignore", divide="ignore"):
            weights = np.where(rows >= 0, np.exp((cosines - best) / self.temperature), 0)
            group = np.arange(len(rows))[:, None] * self._labels + self._label_ids[rows]
            votes = np.bincount(group.ravel(), weights.ravel(), scores.size).reshape(scores.shape)  # (n, C)
            return np.asarray(np.where(np.isfinite(best), best + self.temperature * np.log(votes), -np.inf))


class TopKMean:
    """Per label: the mean of its m best similarities. It suits labels of varied appearance. n queries, C labels."""

    def __init__(self, m: int, temperature: float) -> None:
        self.temperature = temperature
        self._m = m

    def scores(self, similarities: Similarities) -> Float64Array:
        """Return scores (n, C); -inf for a label of which every example was left out."""
        return similarities.top_k_mean(self._m)


class Prototype:
    """Per label: the cosine to its mean example, the prototype (Snell, Swersky & Zemel, arXiv 1703.05175).

    This is a nearest-centroid rule, as scikit-learn's `NearestCentroid`. n queries, C labels.
    """

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def scores(self, similarities: Similarities) -> Float64Array:
        """Return scores (n, C); -inf for a label of which every example was left out."""
        return similarities.mean_cosines()


class TopKMeanPrototype:
    """Per label: the mean of its m best similarities, averaged with the cosine to its prototype.

    The neighbors suit labels of varied appearance; the prototype suits labels with few examples. n queries, C labels.
    """

    def __init__(self, m: int, temperature: float) -> None:
        self.temperature = temperature
        self._m = m

    def scores(self, similarities: Similarities) -> Float64Array:
        """Return scores (n, C); -inf for a label of which every example was left out."""
        return (similarities.top_k_mean(self._m) + similarities.mean_cosines()) / 2


class GaussianDiscriminant:
    """Per label: -1/2 times the squared distance to its mean.

    In the within-class metric this is linear discriminant analysis (LDA): Gaussians with one covariance for all
    labels and equal priors (Hastie, Tibshirani & Friedman, 2009, sec. 4.3). scikit-learn has it as
    `LinearDiscriminantAnalysis`. n queries, C labels.
    """

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def scores(self, similarities: Similarities) -> Float64Array:
        """Return scores (n, C); -inf for a label of which every example was left out."""
        return similarities.square_distances() / -2


def product(experts: Sequence[tuple[Float64Array, float]]) -> Float64Array:
    """Return the mean log-probability (n, C) of experts, each given by its scores (n, C) and its temperature.

    That is the normalized product of their probabilities (Hinton, 2002, "Training products of experts"): a label must
    be likely for all of them.
    """
    logs = [
        np.where(np.isfinite(scores), np.maximum(log_softmax(scores / temperature), _FLOOR), -np.inf)
        for scores, temperature in experts
    ]
    return np.asarray(sum(logs) / len(logs))


@dataclass(frozen=True)
class RuleSpec:
    """A decision rule that is not fitted yet: its experts, and the space in which they compare."""

    name: str
    experts: tuple[VotingRule, ...]
    within_class_metric: bool  # compare in the within-class metric, else in the space of the index
    power_normalize: bool | None  # signed square root before the metric; None: where no number is negative
    fixed: bool  # the user set the temperature, so none is fitted
    through_shortlist: bool = False  # answers compare with a shortlist of the examples, and so must a fit


def make_rule(config: RetrievalConfig, label_ids: IntArray, labels: int) -> RuleSpec:
    """Return the rule that `config` names, for N examples with `label_ids` (N,) of `labels` labels."""
    kernel = _KERNEL if config.temperature is None else config.temperature
    experts: tuple[VotingRule, ...]
    match config.rule:
        case "auto":
            experts = (GaussianDiscriminant(1.0), Prototype(_KERNEL), TopKMean(5, _KERNEL))
        case "gda":
            experts = (GaussianDiscriminant(config.temperature or 1.0),)
        case "knn":
            experts = (WeightedKnn(label_ids, labels, config.k, kernel),)
        case "tip":
            experts = (WeightedKnn(label_ids, labels, len(label_ids), kernel),)
        case "top_k_mean":
            experts = (TopKMean(5, kernel),)
        case "prototype":
            experts = (Prototype(kernel),)
        case "top_k_mean_prototype":
            experts = (TopKMeanPrototype(3, kernel),)
    power_normalize = None if config.power_normalize == "auto" else config.power_normalize
    fixed = config.temperature is not None and config.rule != "auto"
    within_class_metric = config.within_class_metric or config.rule in ("auto", "gda")
    name = (
        f"{config.rule} k={config.k} temperature={config.temperature} within_class_metric={within_class_metric} "
        f"power_normalize={config.power_normalize}"
    )
    if config.cascade:
        name += " cascade"
    if config.rule == "auto":
        name += f" zero_shot_text={config.zero_shot_text}"
    through_shortlist = config.uses_graph(len(label_ids))
    if through_shortlist:
        name += " search=ann"
    return RuleSpec(name, experts, within_class_metric, power_normalize, fixed, through_shortlist)
