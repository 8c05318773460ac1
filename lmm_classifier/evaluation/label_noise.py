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
from lmm_classifier.core.linalg import single_threaded_blas
from lmm_classifier.core.numerics import log_softmax
from lmm_classifier.core.progress import Progress, ProgressCallback

_TEMPERATURES = np.geomspace(0.3, 1.5, 25)
_RATES = np.concatenate([[0.0], np.geomspace(0.0005, 0.5, 160)])
_DROP = 1.92  # of the profile log-likelihood, for a 95 % interval (half of the chi-squared quantile)
_STEPS = 40
_PRIOR = 1.0  # wrong labels, per true label, that are spread evenly before any are seen
_FLOOR = -60.0  # log-probability below which an expert is not believed
_TRIED = _TEMPERATURES[::4]  # for the confusions
_ALL_STEPS = 2 * len(_TEMPERATURES) + _STEPS * len(_TRIED)
_HELD = 1 << 17  # scores at a time: 1 MB
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


def expected_wrong_labels(
    log_probabilities: Float64Array,
    label_ids: IntArray,
    progress: ProgressCallback | None = None,
    among: int | None = None,
) -> WrongLabels:
    """Return how many of n labels are wrong, or of `among` labels of which these are a sample.

    Args:
        log_probabilities: of held-out examples, (n, C).
        label_ids: their labels, (n,).
        progress: called between the steps of the estimate; raise `Cancelled` in it to stop.
        among: so many labels are asked about; None: n.
    """
    count = len(label_ids)
    if count > _SAMPLE:
        rows = np.random.default_rng(0).choice(count, _SAMPLE, replace=False)
        log_probabilities, label_ids = log_probabilities[rows], label_ids[rows]
    scores = OrderedScores.of(np.maximum(log_probabilities, _FLOOR), label_ids, progress)
    even = scores.even()
    rate, low, high = _interval(_profile(scores, even))
    _, low_confused, high_confused = _interval(_profile(scores, _confusions(scores, even)))
    count = count if among is None else among
    return WrongLabels(
        round(rate * count), int(min(low, low_confused) * count), int(np.ceil(max(high, high_confused) * count))
    )


class OrderedScores:
    """Scores of n examples in the order of their labels, so that each label is a range of rows.

    K of the C labels are those of some example. Only their columns are ever needed of P(label | true label), so that
    memory follows the scores, and not the square of C.
    """

    def __init__(self, scores: Float64Array, label_ids: IntArray, progress: ProgressCallback | None) -> None:
        self._scores, self._label_ids, self._progress = scores, label_ids, progress
        self._labels, counts = np.unique(label_ids, return_counts=True)  # (K,)
        ends = np.cumsum(counts).tolist()
        self._ranges = [slice(start, end) for start, end in zip([0, *ends], ends)]
        self._steps = 0

    @classmethod
    def of(cls, scores: Float64Array, label_ids: IntArray, progress: ProgressCallback | None = None) -> OrderedScores:
        """Order scores (n, C) by their labels (n,)."""
        order = np.argsort(label_ids, kind="stable")
        return cls(scores[order], label_ids[order], progress)

    def even(self) -> Float64Array:
        """Return P(label | true label) of wrong labels, (C, K), where each other label is as frequent."""
        labels = self._scores.shape[1]
        mistakes = np.full((labels, len(self._labels)), 1 / max(labels - 1, 1))
        mistakes[self._labels, np.arange(len(self._labels))] = 0
        return mistakes

    def report(self) -> None:
        """Say that one of the steps is done."""
        self._steps += 1
        if self._progress is not None:
            self._progress(Progress("counting wrong labels", self._steps, _ALL_STEPS))

    def probabilities(self, temperature: float) -> tuple[Float64Array, Float64Array]:
        """Return the probabilities at a temperature, (n, C), and those of the own labels, (n,)."""
        probabilities = np.empty(self._scores.shape)
        size = max(_HELD // self._scores.shape[1], 1)
        for start in range(0, len(probabilities), size):
            part = slice(start, start + size)
            probabilities[part] = np.exp(log_softmax(self._scores[part] / temperature))
        return probabilities, np.maximum(probabilities[np.arange(len(probabilities)), self._label_ids], 1e-300)

    def by_mistake(self, probabilities: Float64Array, mistakes: Float64Array) -> Float64Array:
        """Return P(label by mistake), (n,), from the probabilities of the true labels (n, C) and `mistakes` (C, K)."""
        wrong, columns = np.empty(len(probabilities)), np.ascontiguousarray(mistakes.T)
        for column, part in zip(columns, self._ranges):
            wrong[part] = probabilities[part] @ column
        return wrong

    def sums(self, probabilities: Float64Array, weights: Float64Array) -> Float64Array:
        """Return for each label the sums of its rows of `probabilities` (n, C) times `weights` (n,): (C, K) columns."""
        return np.stack([weights[part] @ probabilities[part] for part in self._ranges], axis=1)


@single_threaded_blas  # the products of one label are small
def _profile(scores: OrderedScores, mistakes: Float64Array) -> Float64Array:
    """Return the log-likelihood of each rate at its best temperature; `mistakes` (C, K): P(label | true label)."""
    likelihoods = []
    for temperature in _TEMPERATURES:
        probabilities, own = scores.probabilities(temperature)
        wrong = scores.by_mistake(probabilities, mistakes)
        likelihoods.append([float(np.log((1 - rate) * own + rate * wrong).sum()) for rate in _RATES])
        scores.report()
    return np.asarray(np.max(likelihoods, axis=0))


def _interval(profile: Float64Array) -> tuple[float, float, float]:
    """Return the most likely rate, and the ends of its interval."""
    inside = _RATES[profile >= profile.max() - _DROP]
    return float(_RATES[profile.argmax()]), float(inside.min()), float(inside.max())


def _confusions(scores: OrderedScores, even: Float64Array) -> Float64Array:
    """Return P(label | true label) of wrong labels, (C, K), by expectation maximization at the best temperature."""
    best, chosen = -np.inf, even
    for temperature in _TRIED:
        likelihood, mistakes = _maximized(scores, even, temperature)
        if likelihood > best:
            best, chosen = likelihood, mistakes
    return chosen


@single_threaded_blas
def _maximized(scores: OrderedScores, even: Float64Array, temperature: float) -> tuple[float, Float64Array]:
    """Return the log-likelihood and P(label | true label) of wrong labels after some steps."""
    probabilities, own = scores.probabilities(temperature)
    rate, mistakes = 0.03, even
    for _ in range(_STEPS):
        wrong = scores.by_mistake(probabilities, mistakes)
        is_wrong = rate * wrong / ((1 - rate) * own + rate * wrong)
        rate = float(is_wrong.mean())
        joint = mistakes * scores.sums(probabilities, is_wrong / np.maximum(wrong, 1e-300))
        counts = joint * (even > 0) + _PRIOR * even
        elsewhere = _PRIOR * (1 - even.sum(axis=1, keepdims=True))  # of labels that no example has
        mistakes = counts / (counts.sum(axis=1, keepdims=True) + elsewhere)  # at least the one that is spread evenly
        scores.report()
    wrong = scores.by_mistake(probabilities, mistakes)
    return float(np.log((1 - rate) * own + rate * wrong).sum()), mistakes
