"""How neighbours vote: similarities in, one score per label out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.config import RetrievalConfig
from lmm_classifier.protocols import Comparison, FloatArray, IntArray, VotingRule

Scores = NDArray[np.float64]

_TINY = 1e-12  # the sum of examples that cancel out has no direction: cosine 0


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
        scores = np.full((len(comparison.queries), self._labels), -np.inf)
        for query in range(len(scores)):
            rows, similarities = comparison.nearest(query, self._k)  # (<= k,)
            if len(rows) == 0:
                continue
            weights = np.exp((similarities - similarities[0]) / self.temperature)
            votes = np.bincount(self._label_ids[rows], weights, self._labels)  # (C,)
            with np.errstate(divide="ignore"):
                scores[query] = similarities[0] + self.temperature * np.log(votes)
        return scores


class TopMeanPrototype:
    """Per label: the mean of its m best similarities, averaged with the cosine to its mean example (prototype).

    The neighbours keep classes of several looks apart, the prototype steadies classes with few examples.
    """

    def __init__(
        self, matrix: FloatArray, label_ids: IntArray, labels: int, m: int = 3, temperature: float = 0.05
    ) -> None:
        self.temperature = temperature
        self._matrix = matrix
        self._label_ids = label_ids
        self._m = m
        self._rows = rows_by_label(label_ids, labels)
        self._sums = np.stack([_sum_rows(matrix, rows) for rows in self._rows])  # (C, d)
        self._norms = np.linalg.norm(self._sums, axis=1)  # (C,)

    def scores(self, comparison: Comparison) -> Scores:
        """Return (n, C); -inf for a label of which every example was left out."""
        limits = np.stack([self._limits(comparison.similarities[:, rows]) for rows in self._rows], axis=1)  # (n, C)
        scores = np.empty(limits.shape)
        for query, limit in enumerate(limits - comparison.tolerance):
            scores[query] = self._top_mean(comparison, query, limit) + self._prototype_cosines(comparison, query)
        return scores / 2

    def _limits(self, similarities: FloatArray) -> FloatArray:
        """The m-th largest of each row (n, size of the label)."""
        place = max(similarities.shape[1] - self._m, 0)
        return np.asarray(np.partition(similarities, place, axis=1)[:, place])

    def _top_mean(self, comparison: Comparison, query: int, limits: FloatArray) -> Scores:
        """Mean of the m best cosines of every label (C,), looking at the rows from `limits` (C,) on."""
        near = comparison.similarities[query]
        rows = np.flatnonzero((near >= limits[self._label_ids]) & np.isfinite(near))
        labels, cosines = self._label_ids[rows], comparison.cosines(query, rows)
        order = np.lexsort((-cosines, labels))
        labels, cosines = labels[order], cosines[order]
        best = np.arange(len(labels)) - np.searchsorted(labels, labels) < self._m  # rank within the label
        count = np.bincount(labels[best], minlength=len(limits))
        total = np.bincount(labels[best], cosines[best], len(limits))
        return np.where(count > 0, total / np.maximum(count, 1), -np.inf)

    def _prototype_cosines(self, comparison: Comparison, query: int) -> Scores:
        """Cosine to the sum of every label's examples (C,), less those that were left out."""
        sums, norms = self._sums, self._norms
        left_out = np.flatnonzero(np.isneginf(comparison.similarities[query]))
        if len(left_out):
            sums, norms = sums.copy(), norms.copy()
            for label in np.unique(self._label_ids[left_out]):
                sums[label] -= _sum_rows(self._matrix, left_out[self._label_ids[left_out] == label])
                norms[label] = np.linalg.norm(sums[label])
        # summed row by row: a matrix product's last bits depend on the number of its threads
        dots = (sums * comparison.queries[query]).sum(axis=1)
        return np.asarray(dots / np.maximum(norms, _TINY))


def open_rule(config: RetrievalConfig, matrix: FloatArray, label_ids: IntArray, labels: int) -> VotingRule:
    """Make the configured rule for the examples `matrix` (N, d) with `label_ids` (N,) of `labels` labels."""
    if config.rule == "softmax":
        return SoftmaxVote(label_ids, labels, config.k, config.temperature)
    return TopMeanPrototype(matrix, label_ids, labels, temperature=config.temperature)


def shares(scores: Scores, temperature: float) -> Scores:
    """Softmax of scores (..., C) at `temperature`: shares 0..1 that sum to 1; all 0 where every score is -inf."""
    best = scores.max(axis=-1, keepdims=True)
    weights = np.exp((scores - np.where(np.isfinite(best), best, 0)) / temperature)
    total = weights.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(weights, total, out=np.zeros_like(weights), where=total > 0))


def rows_by_label(label_ids: IntArray, labels: int) -> list[IntArray]:
    """Rows of each label, ascending; one array per label."""
    order = np.argsort(label_ids, kind="stable")
    return np.split(order, np.cumsum(np.bincount(label_ids, minlength=labels))[:-1])


def _sum_rows(matrix: FloatArray, rows: IntArray, block: int = 4096) -> Scores:
    """Sum of the given rows in float64, read in blocks so that a large label costs no copy of itself."""
    total = np.zeros(matrix.shape[1])
    for start in range(0, len(rows), block):
        total += matrix[rows[start : start + block]].sum(axis=0, dtype=np.float64)
    return total
