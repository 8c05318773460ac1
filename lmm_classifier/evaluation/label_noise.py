"""How many labels of a dataset are wrong, estimated from predictions of held-out examples.

A prediction that contradicts the label is no proof: the image may be hard. But hard images are those of which the
predictions are unsure. Wrong labels also contradict predictions that are sure. So the predictions are modeled as
P(label) = (1 - rate) p(label) + rate q(label), with p at a temperature that is fitted together with the rate, and q the
probability of a label that is wrong. Two models of q bracket the truth. In the first, each other label is as frequent.
In the second, wrong labels are those that the dataset confuses, as estimated by expectation maximization.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.core.numerics import log_softmax

_TEMPERATURES = np.geomspace(0.3, 1.5, 25)
_RATES = np.concatenate([[0.0], np.geomspace(0.0005, 0.5, 160)])
_DROP = 1.92  # of the profile log-likelihood, for a 95 % interval (half of the chi-squared quantile)
_STEPS = 40
_PRIOR = 1.0  # wrong labels, per true label, that are spread evenly before any are seen
_FLOOR = -60.0  # log-probability below which an expert is not believed
_SAMPLE = 20_000  # examples that the estimate is made from


@dataclass(frozen=True, slots=True)
class WrongLabels:
    """How many of the judged labels are expected to be wrong, with a 95 % interval.

    Wrong labels that are similar to the true ones look like hard images, so the expected number is rather too low for
    them. The interval allows for both kinds.
    """

    expected: int
    low: int
    high: int

    @property
    def is_certain(self) -> bool:
        """Return whether some labels are wrong with certainty: the interval has no zero."""
        return self.low > 0


def expected_wrong_labels(log_probabilities: Float64Array, label_ids: IntArray) -> WrongLabels:
    """Return how many of n labels are wrong.

    Args:
        log_probabilities: of held-out examples, (n, C).
        label_ids: their labels, (n,).
    """
    count = len(label_ids)
    if count > _SAMPLE:
        rows = np.random.default_rng(0).choice(count, _SAMPLE, replace=False)
        log_probabilities, label_ids = log_probabilities[rows], label_ids[rows]
    scores = np.maximum(log_probabilities, _FLOOR)
    labels = scores.shape[1]
    even = (1 - np.eye(labels)) / max(labels - 1, 1)
    rate, low, high = _interval(_profile(scores, label_ids, even))
    _, low_confused, high_confused = _interval(_profile(scores, label_ids, _confusions(scores, label_ids, even)))
    return WrongLabels(
        round(rate * count), int(min(low, low_confused) * count), int(np.ceil(max(high, high_confused) * count))
    )


def _profile(scores: Float64Array, label_ids: IntArray, mistakes: Float64Array) -> Float64Array:
    """Return the log-likelihood of each rate at its best temperature; `mistakes` (C, C): P(label | true label)."""
    likelihoods = []
    for temperature in _TEMPERATURES:
        own, wrong = _parts(scores, label_ids, mistakes, temperature)
        likelihoods.append([float(np.log((1 - rate) * own + rate * wrong).sum()) for rate in _RATES])
    return np.asarray(np.max(likelihoods, axis=0))


def _interval(profile: Float64Array) -> tuple[float, float, float]:
    """Return the most likely rate, and the ends of its interval."""
    inside = _RATES[profile >= profile.max() - _DROP]
    return float(_RATES[profile.argmax()]), float(inside.min()), float(inside.max())


def _parts(
    scores: Float64Array, label_ids: IntArray, mistakes: Float64Array, temperature: float
) -> tuple[Float64Array, Float64Array]:
    """Return p(label) and q(label) of each example, (n,)."""
    probabilities = np.exp(log_softmax(scores / temperature))
    rows = np.arange(len(label_ids))
    own = np.maximum(probabilities[rows, label_ids], 1e-300)
    return own, np.einsum("nc,nc->n", probabilities, mistakes[:, label_ids].T)


def _confusions(scores: Float64Array, label_ids: IntArray, even: Float64Array) -> Float64Array:
    """Return P(label | true label) of wrong labels, (C, C), by expectation maximization at the best temperature."""
    best, chosen = -np.inf, even
    for temperature in _TEMPERATURES[::4]:
        likelihood, mistakes = _maximized(scores, label_ids, even, temperature)
        if likelihood > best:
            best, chosen = likelihood, mistakes
    return chosen


def _maximized(
    scores: Float64Array, label_ids: IntArray, even: Float64Array, temperature: float
) -> tuple[float, Float64Array]:
    """Return the log-likelihood and P(label | true label) of wrong labels after some steps."""
    probabilities = np.exp(log_softmax(scores / temperature))
    labels = probabilities.shape[1]
    own = np.maximum(probabilities[np.arange(len(label_ids)), label_ids], 1e-300)
    given = np.eye(labels)[label_ids]  # (n, C)
    rate, mistakes = 0.03, even
    for _ in range(_STEPS):
        joint = probabilities * mistakes[:, label_ids].T  # (n, C): true label, and this label by mistake
        wrong = joint.sum(axis=1)
        is_wrong = rate * wrong / ((1 - rate) * own + rate * wrong)
        weights = joint * (is_wrong / np.maximum(wrong, 1e-300))[:, None]
        rate = float(is_wrong.mean())
        counts = (weights.T @ given) * (even > 0) + _PRIOR * even
        mistakes = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-300)
    wrong = np.einsum("nc,nc->n", probabilities, mistakes[:, label_ids].T)
    return float(np.log((1 - rate) * own + rate * wrong).sum()), mistakes
