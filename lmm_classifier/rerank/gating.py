"""The gate (deferral rule): the gain to expect from asking about an image, and the least gain that is worth a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import Arrays, BoolArray, Float64Array

_LABEL_STRENGTH = 8.0  # the overall rate weighs as many comparisons against those of the label
_PAIR_STRENGTH = 4.0  # the label's rate weighs as many comparisons against those of the pair
_STEPS = 50


@dataclass(frozen=True)
class PairwiseAccuracy:
    """How often the reranker prefers the true label to a false one, measured on the images it was asked about.

    Rates from few comparisons are shrunk: a pair towards its true label, a label towards all. Where the reranker
    guesses between two labels, or always prefers the same one, the expected gain is 0 and it is not asked.
    """

    overall: float
    """Rate over all comparisons, 0 to 1."""
    of_label: Mapping[str, float]
    """Rate of each true label."""
    of_pair: Mapping[tuple[str, str], float]
    """Rate of each pair (true label, false label)."""

    def rate(self, true: str, false: str) -> float:
        """Return the probability, 0 to 1, that the reranker prefers `true` to `false` when `true` is right."""
        return self.of_pair.get((true, false), self.of_label.get(true, self.overall))

    @classmethod
    def fit(cls, comparisons: Sequence[tuple[str, str, float]]) -> PairwiseAccuracy:
        """Fit on tuples of true label, false label, and outcome.

        The outcome is 1 where the reranker preferred the true label, 0 for the false one, 0.5 for neither.
        """
        outcomes = [outcome for _, _, outcome in comparisons]
        overall = (sum(outcomes) + 1) / (len(outcomes) + 2)
        labels: dict[str, list[float]] = {}
        pairs: dict[tuple[str, str], list[float]] = {}
        for true, false, outcome in comparisons:
            labels.setdefault(true, []).append(outcome)
            pairs.setdefault((true, false), []).append(outcome)
        of_label = {label: _shrunk(values, overall, _LABEL_STRENGTH) for label, values in labels.items()}
        of_pair = {pair: _shrunk(values, of_label[pair[0]], _PAIR_STRENGTH) for pair, values in pairs.items()}
        return cls(overall, of_label, of_pair)

    def expected_gain(self, labels: Sequence[str], probabilities: Float64Array) -> float:
        """Return the probability that asking corrects this image minus the probability that it spoils it, 0 or more.

        A rival c gains p_c rate(c, best) - p_best (1 - rate(best, c)). Where that is negative, fusion keeps the label
        of retrieval, so it counts as 0 (the value of information about a binary choice).

        Args:
            labels: the candidates, best first.
            probabilities: their calibrated probabilities, (k,).
        """
        best, top = labels[0], float(probabilities[0])
        gains = (
            probability * self.rate(rival, best) - top * (1 - self.rate(best, rival))
            for rival, probability in zip(labels[1:], probabilities[1:])
        )
        return float(sum(max(0.0, gain) for gain in gains))

    def renamed(self, names: Mapping[str, str]) -> PairwiseAccuracy:
        """Return it with new names (former -> current) for some labels."""
        of_label = {names.get(label, label): rate for label, rate in self.of_label.items()}
        of_pair = {(names.get(a, a), names.get(b, b)): rate for (a, b), rate in self.of_pair.items()}
        return PairwiseAccuracy(self.overall, of_label, of_pair)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that rebuild it."""
        pairs = sorted(self.of_pair)
        return {
            "overall": np.array([self.overall]),
            "labels": np.array(sorted(self.of_label), dtype=str),
            "label_rates": np.array([self.of_label[name] for name in sorted(self.of_label)]),
            "pairs": np.array(pairs, dtype=str).reshape(-1, 2),
            "pair_rates": np.array([self.of_pair[pair] for pair in pairs]),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> PairwiseAccuracy:
        """Rebuild it; raises KeyError where an array is missing, ValueError where a rate is not a probability."""
        rates = np.concatenate([arrays["overall"], arrays["label_rates"], arrays["pair_rates"]])
        if not ((rates >= 0) & (rates <= 1)).all():
            raise ValueError("a rate of the reranker is not a probability")
        of_label = dict(zip(map(str, arrays["labels"]), map(float, arrays["label_rates"]), strict=True))
        pairs = [(str(true), str(false)) for true, false in arrays["pairs"]]
        of_pair = dict(zip(pairs, map(float, arrays["pair_rates"]), strict=True))
        return cls(float(arrays["overall"].item()), of_label, of_pair)


@dataclass(frozen=True, slots=True)
class GainCalibration:
    """Platt scaling of expected gains: logit p(corrected) = intercept + slope logit(gain).

    Confidence from few examples is too low at its upper end. There the last calls correct less than expected, so fewer
    of them are worth it (Platt, Advances in Large Margin Classifiers, 1999).
    """

    intercept: float = 0.0
    slope: float = 1.0

    def __call__(self, gains: Float64Array) -> Float64Array:
        """Return the probability of a correction at each expected gain, (n,); 0 stays 0."""
        logits = self.intercept + self.slope * _logit(gains)
        return np.where(gains > 0, 1 / (1 + np.exp(-logits)), 0.0)

    @classmethod
    def fit(cls, gains: Float64Array, corrected: BoolArray) -> GainCalibration:
        """Fit by Newton's method, with Gaussian priors around intercept 0 and slope 1.

        Args:
            gains: expected gains of the images that were asked about, (n,).
            corrected: whether asking corrected each of them, (n,).
        """
        positive = gains > 0
        inputs = np.stack([np.ones(int(positive.sum())), _logit(gains[positive])], axis=1)  # (m, 2)
        center, strength = np.array([0.0, 1.0]), np.array([1.0, 4.0])
        weights = center.copy()
        for _ in range(_STEPS):
            p = 1 / (1 + np.exp(-(inputs @ weights)))
            gradient = inputs.T @ (p - corrected[positive]) + strength * (weights - center)
            hessian = (inputs * (p * (1 - p))[:, None]).T @ inputs + np.diag(strength)
            step = np.linalg.solve(hessian, gradient)
            weights = weights - step * min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
            if np.abs(step).max() < 1e-8:
                break
        return cls(float(weights[0]), max(0.1, float(weights[1])))  # a higher expected gain is never less likely


def gain_threshold(
    gains: Float64Array,
    target_gain: float,
    max_calls: float | None = None,
    calibration: GainCalibration = GainCalibration(),
) -> float:
    """Return the smallest expected gain that still justifies a call; infinity where no call does.

    The most valuable calls, together, capture `target_gain` of all corrections.

    Args:
        gains: expected gains of the examples of the dataset, (n,).
        target_gain: fraction of all corrections to capture, 0 to 1.
        max_calls: largest fraction of images to ask about, 0 to 1; None for no limit.
        calibration: turns an expected gain into the probability of a correction.
    """
    descending = np.sort(gains)[::-1]
    corrections = calibration(descending)
    total = corrections.sum()
    if total <= 0:
        return float("inf")
    count = int(np.searchsorted(np.cumsum(corrections), (1 - 1e-9) * target_gain * total)) + 1
    if max_calls is not None:
        count = min(count, int(max_calls * len(gains)))
    if count == 0:
        return float("inf")
    return float(descending[count - 1])


def _logit(probabilities: Float64Array) -> Float64Array:
    inside = np.clip(probabilities, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def _shrunk(outcomes: Sequence[float], prior: float, strength: float) -> float:
    return (sum(outcomes) + strength * prior) / (len(outcomes) + strength)
