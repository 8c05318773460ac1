"""Sparse scores: those of the candidates of each example one by one, and those of all other labels in groups.

Dense scores of 20,000 examples and 100,000 labels would take 16 GB. But far from the best label only the sum of the
probabilities counts. So the other labels are put into groups of nearly equal scores, each with its mean and its count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lmm_classifier.core.arrays import Float64Array, IntArray

CANDIDATES = 32  # labels kept one by one
_GROUPS = 48  # of all other labels


@dataclass(frozen=True)
class SparseScores:
    """Scores of n examples for the labels of an index, in M columns; a column is a candidate or a group of labels.

    A softmax over the columns takes each group as `counts` labels with its mean score. By Jensen's inequality that is
    at most the true sum; `rest_bounds` gives the largest that it can be. Bounds and means are exact for every
    temperature, so one pass over the labels serves for the search of the temperature too.
    """

    labels: IntArray  # (n, M) numbers of labels; -1 for a group, and for nothing
    scores: Float64Array  # (n, M) of the label, or the mean of a group; -inf for nothing
    counts: IntArray  # (n, M) labels that the column stands for; 0 for nothing
    widths: Float64Array  # (n,) of the rest: its largest score minus its least, 0 for none
    tops: Float64Array  # (n,) largest score of the rest, -inf for none

    @classmethod
    def of(cls, scores: Float64Array, label_ids: IntArray) -> SparseScores:
        """Keep of scores (n, C) the best labels and the true one, and group the others; -inf is no score."""
        count, labels = scores.shape
        kept = min(CANDIDATES, labels)
        best = np.argpartition(-scores, kept - 1, axis=1)[:, :kept] if kept < labels else _every(count, labels)
        scattered = scores.copy()
        np.put_along_axis(scattered, best, -np.inf, axis=1)
        here = np.arange(count)
        own = np.where(np.isfinite(scattered[here, label_ids]), label_ids, -1)  # the true label, where it is not kept
        scattered[here, label_ids] = -np.inf
        candidates = np.concatenate([best, own[:, None]], axis=1)  # (n, K + 1)
        values = np.where(candidates >= 0, np.take_along_axis(scores, np.maximum(candidates, 0), axis=1), -np.inf)
        exists = np.isfinite(values)
        means, counts, tops, widths = _groups(scattered)
        return cls(
            np.concatenate([np.where(exists, candidates, -1), np.full(means.shape, -1)], axis=1),
            np.concatenate([values, means], axis=1),
            np.concatenate([exists.astype(np.int64), counts], axis=1),
            widths,
            tops,
        )

    @classmethod
    def join(cls, parts: Sequence[SparseScores]) -> SparseScores:
        """Concatenate parts, in order."""
        return cls(
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.counts for part in parts]),
            np.concatenate([part.widths for part in parts]),
            np.concatenate([part.tops for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.scores)

    def rows(self, numbers: IntArray) -> SparseScores:
        """Return those of some examples."""
        return SparseScores(
            self.labels[numbers], self.scores[numbers], self.counts[numbers], self.widths[numbers], self.tops[numbers]
        )

    def columns_of(self, label_ids: IntArray) -> IntArray:
        """Return the column (n,) of one label per example, -1 where it has no column."""
        matches = self.labels == np.asarray(label_ids)[:, None]
        return np.where(matches.any(axis=1), matches.argmax(axis=1), -1)

    def log_softmax(self, temperature: float = 1.0) -> SparseScores:
        """Return log-probabilities, the softmax of scores / temperature over all labels."""
        logs = self.scores / temperature
        best = logs.max(axis=1, keepdims=True, initial=-np.inf)
        best = np.where(np.isfinite(best), best, 0)
        total = (self.counts * np.exp(logs - best)).sum(axis=1, keepdims=True)
        shift = best + np.log(np.where(total > 0, total, 1))
        return replace(
            self,
            scores=logs - shift,
            widths=self.widths / temperature,
            tops=self.tops / temperature - shift[:, 0],
        )

    def best(self) -> tuple[IntArray, Float64Array]:
        """Return the best label of each example (n,), -1 for none, and its score; the lowest of equal ones."""
        value = np.where(self.labels >= 0, self.scores, -np.inf).max(axis=1, initial=-np.inf)
        is_best = (self.labels >= 0) & (self.scores == value[:, None]) & np.isfinite(value)[:, None]
        numbers = np.where(is_best, self.labels, np.iinfo(np.int64).max).min(axis=1)
        return np.where(is_best.any(axis=1), numbers, -1), value

    def of_labels(self, label_ids: IntArray) -> Float64Array:
        """Return the score of one label per example, (n,); -inf where it has none."""
        columns = self.columns_of(label_ids)
        return np.where(columns >= 0, self.scores[np.arange(len(self)), np.maximum(columns, 0)], -np.inf)

    def rest_bounds(self, temperature: float = 1.0) -> tuple[Float64Array, Float64Array]:
        """Return the least and the largest that the sum of exp(score / temperature) of the rest can be, (n,) each.

        They are relative to exp(top / temperature). The least is what a softmax over the columns counts. Within a group
        the exponential lies below its chord.
        """
        is_group = (self.labels < 0) & (self.counts > 0)
        tops = np.where(np.isfinite(self.tops), self.tops, 0)
        below = np.where(is_group, tops[:, None] - self.scores, 0)
        least = np.where(is_group, self.counts * np.exp(-below / temperature), 0)
        near, far = _edges(self.widths, self.scores.shape[1])
        share = np.divide(below - near, far - near, out=np.zeros_like(below), where=far > near).clip(0, 1)
        chord = (1 - share) * np.exp(-near / temperature) + share * np.exp(-far / temperature)
        return least.sum(axis=1), np.where(is_group, self.counts * chord, 0).sum(axis=1)


def _every(count: int, labels: int) -> IntArray:
    return np.broadcast_to(np.arange(labels), (count, labels)).copy()


def _groups(scores: Float64Array) -> tuple[Float64Array, IntArray, Float64Array, Float64Array]:
    """Group the finite scores of each row (n, C): means and counts (n, G), largest scores and widths (n,).

    The edges lie at growing distances from the largest score, because only the scores near to it count much.
    """
    finite = np.isfinite(scores)
    tops = scores.max(axis=1, initial=-np.inf)
    base = np.where(np.isfinite(tops), tops, 0)
    below = np.where(finite, base[:, None] - scores, 0)
    widths = below.max(axis=1, initial=0)
    scale = np.where(widths > 0, widths, 1)
    group = np.minimum((np.sqrt(below / scale[:, None]) * _GROUPS).astype(np.int64), _GROUPS - 1)
    flat = (np.arange(len(scores))[:, None] * _GROUPS + group)[finite]
    counts = np.bincount(flat, minlength=len(scores) * _GROUPS).reshape(-1, _GROUPS)
    sums = np.bincount(flat, below[finite], len(scores) * _GROUPS).reshape(-1, _GROUPS)
    means = np.where(counts > 0, base[:, None] - sums / np.maximum(counts, 1), -np.inf)
    return means, counts, tops, widths


def _edges(widths: Float64Array, columns: int) -> tuple[Float64Array, Float64Array]:
    """Return how far below the top each column of a group begins and ends, (n, M)."""
    steps = np.zeros(columns + 1)
    steps[-_GROUPS - 1 :] = np.linspace(0, 1, _GROUPS + 1)
    edges = np.square(steps) * widths[:, None]
    return edges[:, :-1], edges[:, 1:]
