"""The benefit of a reranker on a dataset: measured on held-out examples, then fitted, then used or switched off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import Arrays, BoolArray, Float64Array, IntArray, nest, unnest
from lmm_classifier.core.datatypes import Candidate, RerankResult
from lmm_classifier.rerank.fusion import Fusion, evidence, fit_fusion
from lmm_classifier.rerank.gating import GainCalibration, PairwiseAccuracy, gain_threshold
from lmm_classifier.rerank.prompts import MAX_OPTIONS

_FOLDS = 5
_MIN_UNCERTAINTY = 0.02  # of an example that retrieval is sure of: it too may be sampled

_Ranking = tuple[tuple[str, ...], Float64Array]  # candidate labels, best first, and their probabilities (k,)


@dataclass(frozen=True, slots=True)
class Trial:
    """One held-out example that the reranker was asked about."""

    labels: tuple[str, ...]
    """The candidates, best first."""
    probabilities: Float64Array
    """Their probabilities by retrieval, (k,) descending."""
    truth: str
    """The true label; it may be missing among the candidates."""
    answer: RerankResult
    """The answer of the reranker, or its failure."""
    weight: float
    """Number of examples that this one stands for."""

    @property
    def answered(self) -> bool:
        """Whether the reranker gave an answer."""
        return not self.answer.failure


@dataclass(frozen=True)
class TrialOutcomes:
    """The outcome of each of n trials, decided by weights and rates that were fitted without it; arrays are (n,)."""

    gain: Float64Array
    """Expected gain before asking."""
    confidence: Float64Array
    """Probability of retrieval's best label."""
    weight: Float64Array
    """Number of examples that the trial stands for."""
    worth: BoolArray
    """Whether the gate would have asked."""
    retrieval: BoolArray
    """Whether retrieval alone is right."""
    reranker: BoolArray
    """Whether the reranker alone is right; retrieval where the reranker failed."""
    fused: BoolArray
    """Whether both together are right."""
    failed: BoolArray
    """Whether the reranker failed."""
    disagreement: Float64Array
    """Disagreement of the reranker's answers, 0 to 1."""

    @property
    def net(self) -> tuple[float, float]:
        """Net gain in accuracy over all images when the gate asks, -1 to 1, and its standard error."""
        gains = self.weight * self.worth * (self.fused.astype(float) - self.retrieval)
        return float(gains.sum() / self.weight.sum()), float(np.sqrt(np.square(gains).sum()) / self.weight.sum())

    @property
    def net_percent(self) -> tuple[float, float]:
        """Net gain and its standard error in percentage points."""
        net, error = self.net
        return 100 * net, 100 * error

    @property
    def pays(self) -> bool:
        """Whether the cross-validated net gain exceeds zero by more than its standard error.

        A single correction among many images equals its own standard error. It is luck and no reason to ask.
        """
        net, error = self.net
        return net > error + 1e-12


_OUTCOMES = tuple(field.name for field in fields(TrialOutcomes))


@dataclass(frozen=True)
class RerankerBenefit:
    """A reranker as measured on a dataset. It belongs to one reranker and one calibrated retrieval."""

    identity: str
    """Identity of the reranker."""
    fusion: Fusion
    """Weights of retrieval and reranker."""
    pairwise_accuracy: PairwiseAccuracy
    """How well the reranker tells labels apart."""
    gain_threshold: float
    """Smallest expected gain that justifies a call."""
    candidates: int
    """Number of candidates to offer."""
    outcomes: TrialOutcomes
    """Outcomes of the trials."""

    def worth(self, labels: Sequence[str], probabilities: Float64Array) -> bool:
        """Return whether to ask about an image with these candidates, best first; False where asking never pays."""
        if not self.outcomes.pays:
            return False
        return self.pairwise_accuracy.expected_gain(labels, probabilities) >= self.gain_threshold

    def pays_off(self, candidates: Sequence[Candidate]) -> bool:
        """Return whether asking about an image with these candidates, best first, is expected to pay."""
        asked = candidates[: self.candidates]
        return self.worth([each.label for each in asked], np.array([each.score for each in asked]))

    def renamed(self, names: Mapping[str, str]) -> RerankerBenefit:
        """Return it with new names (former -> current) for some labels."""
        return replace(self, pairwise_accuracy=self.pairwise_accuracy.renamed(names)) if names else self

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that rebuild it; no pickled objects."""
        return {
            "identity": np.array([self.identity]),
            "fusion": np.array([self.fusion.retrieval, self.fusion.reranker]),
            "gate": np.array([self.gain_threshold, float(self.candidates)]),
            **nest("pairwise_accuracy", self.pairwise_accuracy.to_arrays()),
            **nest("outcomes", {name: getattr(self.outcomes, name) for name in _OUTCOMES}),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> RerankerBenefit:
        """Rebuild it; raises KeyError, IndexError or ValueError where the arrays do not describe a benefit."""
        stored = unnest("outcomes", arrays)
        outcomes = TrialOutcomes(**{name: stored[name] for name in _OUTCOMES})
        lengths = {len(stored[name]) for name in _OUTCOMES}
        if len(lengths) != 1:
            raise ValueError(f"the outcomes of the reranker have different lengths: {sorted(lengths)}")
        retrieval, reranker = map(float, arrays["fusion"])
        threshold, candidates = map(float, arrays["gate"])
        if not (retrieval >= 0 and reranker >= 0 and threshold > 0 and 1 <= candidates <= MAX_OPTIONS):
            raise ValueError("a weight, the gain threshold or the number of candidates of the reranker is impossible")
        return cls(
            str(arrays["identity"][0]),
            Fusion(retrieval, reranker),
            PairwiseAccuracy.from_arrays(unnest("pairwise_accuracy", arrays)),
            threshold,
            int(candidates),
            outcomes,
        )


def candidates_for_recall(probabilities: Float64Array, truth: IntArray, recall: float, most: int) -> int:
    """Return the number of candidates, 2 to `most`, that contain the true label with probability `recall`.

    Args:
        probabilities: of held-out examples, (n, C). Each example counts by its uncertainty, 1 - its best probability.
        truth: true label of each example, (n,).
        recall: wanted probability, 0 to 1.
        most: largest number to return.
    """
    of_truth = probabilities[np.arange(len(truth)), truth]
    rank = (probabilities > of_truth[:, None]).sum(axis=1)  # (n,) number of labels before the true one
    uncertainty = np.maximum(1 - probabilities.max(axis=1), 1e-12)
    recalls = np.bincount(rank, uncertainty, probabilities.shape[1]).cumsum() / uncertainty.sum()
    needed = int(np.searchsorted(recalls, recall - 1e-12)) + 1
    return max(2, min(needed, most))


def sample_by_uncertainty(
    confidence: Float64Array, random_numbers: Float64Array, budget: int
) -> tuple[IntArray, Float64Array]:
    """Choose at most `budget` examples, the uncertain ones more often than the others.

    Sequential Poisson sampling (Ohlsson, J. Official Statistics 14, 1998); the weights are the reciprocal inclusion
    probabilities.

    Args:
        confidence: best probability of each example, (n,).
        random_numbers: (n,), 0 to 1, each fixed to its example. A second run therefore chooses the same examples, and
            a larger budget adds more.
        budget: most examples to choose.

    Returns:
        The chosen rows, ascending, and how many examples each stands for.
    """
    count = len(confidence)
    if count <= budget:
        return np.arange(count), np.ones(count)
    uncertainty = np.maximum(1 - confidence, _MIN_UNCERTAINTY)
    include = uncertainty * (budget / uncertainty.sum())
    for _ in range(20):  # an example that is certainly included leaves its surplus to the others
        certain = include >= 1
        rest = max(budget - certain.sum(), 0)
        include = np.where(certain, 1.0, uncertainty * (rest / max(uncertainty[~certain].sum(), 1e-12)))
    include = np.clip(include, 1e-9, 1)
    order = np.argsort(np.where(include >= 1, -1.0, random_numbers / include), kind="stable")
    rows = np.sort(order[:budget])
    return rows, 1 / include[rows]


def fit_benefit(
    identity: str,
    trials: Sequence[Trial],
    rankings: Sequence[_Ranking],
    target_gain: float,
    max_calls: float | None,
) -> RerankerBenefit:
    """Fit fusion, pairwise accuracy and gate to the trials, and measure them by cross-validation.

    Args:
        identity: of the reranker.
        trials: at least one.
        rankings: candidates and probabilities of all held-out examples, asked about or not; the gate is set on them.
        target_gain: fraction of all possible corrections that the gate should capture, 0 to 1.
        max_calls: largest fraction of images to ask about, 0 to 1; None for no limit.
    """
    folds = np.arange(len(trials)) % _FOLDS
    fits = [_fit([trial for trial, fold in zip(trials, folds) if fold != number]) for number in range(_FOLDS)]
    results = [_result(trial, *fits[fold]) for trial, fold in zip(trials, folds)]
    gain, retrieval, reranker, fused = (np.array(column) for column in zip(*results))
    corrected = fused & ~retrieval
    worth = np.zeros(len(trials), bool)
    for number, (_, accuracy) in enumerate(fits):
        in_fold = folds == number
        calibration = GainCalibration.fit(gain[~in_fold], corrected[~in_fold])
        gains = _expected_gains(accuracy, rankings)
        worth[in_fold] = gain[in_fold] >= gain_threshold(gains, target_gain, max_calls, calibration)
    outcomes = TrialOutcomes(
        gain=gain,
        confidence=np.array([trial.probabilities[0] for trial in trials]),
        weight=np.array([trial.weight for trial in trials]),
        worth=worth,
        retrieval=retrieval,
        reranker=reranker,
        fused=fused,
        failed=np.array([not trial.answered for trial in trials]),
        disagreement=np.array([trial.answer.disagreement for trial in trials]),
    )
    fusion, accuracy = _fit(trials)
    calibration = GainCalibration.fit(gain, corrected)
    threshold = gain_threshold(_expected_gains(accuracy, rankings), target_gain, max_calls, calibration)
    return RerankerBenefit(identity, fusion, accuracy, threshold, max(len(trial.labels) for trial in trials), outcomes)


def _fit(trials: Sequence[Trial]) -> tuple[Fusion, PairwiseAccuracy]:
    """Fit on the trials with an answer whose true label is among the candidates."""
    usable = [trial for trial in trials if trial.answered and trial.truth in trial.labels]
    logs = [evidence(trial.probabilities, trial.answer) for trial in usable]
    fusion = fit_fusion(logs, [trial.labels.index(trial.truth) for trial in usable])
    comparisons = []
    for trial in usable:
        true_score = trial.answer.scores[trial.labels.index(trial.truth)]
        for label, score in zip(trial.labels, trial.answer.scores):
            if label != trial.truth:
                comparisons.append((trial.truth, label, 0.5 + 0.5 * float(np.sign(true_score - score))))
    return fusion, PairwiseAccuracy.fit(comparisons)


def _expected_gains(accuracy: PairwiseAccuracy, rankings: Sequence[_Ranking]) -> Float64Array:
    return np.array([accuracy.expected_gain(labels, probabilities) for labels, probabilities in rankings])


def _result(trial: Trial, fusion: Fusion, accuracy: PairwiseAccuracy) -> tuple[float, bool, bool, bool]:
    """Return the expected gain, and whether retrieval, the reranker, and both together are right."""
    gain = accuracy.expected_gain(trial.labels, trial.probabilities)
    by_retrieval = trial.labels[0] == trial.truth
    if not trial.answered:
        return gain, by_retrieval, by_retrieval, by_retrieval
    by_reranker = trial.labels[int(np.argmax(trial.answer.scores))] == trial.truth
    by_fusion = trial.labels[int(np.argmax(fusion(trial.probabilities, trial.answer)))] == trial.truth
    return gain, by_retrieval, by_reranker, by_fusion
