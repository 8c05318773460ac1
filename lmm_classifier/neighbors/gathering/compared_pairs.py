"""Pairs of a query and a row that were compared in both spaces: they can be computed label by label, and joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import BoolArray, Float64Array, IntArray
from lmm_classifier.neighbors.gathering.reading import FoundRows
from lmm_classifier.neighbors.rescoring import ranks


@dataclass(frozen=True)
class Competing:
    """What competes for each of n queries: the labels to read, ascending, and the rows that the search found."""

    labels: Sequence[IntArray]
    found: Sequence[FoundRows]

    def within(self, start: int, stop: int) -> Competing:
        """Return the same with the labels from `start` to before `stop` only."""
        labels = [of_query[(of_query >= start) & (of_query < stop)] for of_query in self.labels]
        return Competing(labels, [rows.of_labels(start, stop) for rows in self.found])

    @classmethod
    def following(cls, parts: Sequence[Competing]) -> Competing:
        """Join that of consecutive queries."""
        found = [
            FoundRows(np.concatenate([f.ids for f in of_search]), np.concatenate([f.label_ids for f in of_search]))
            for of_search in zip(*(part.found for part in parts))
        ]
        return cls([labels for part in parts for labels in part.labels], found)

    def part(self, queries: slice) -> Competing:
        """Return that of consecutive queries."""
        found = [FoundRows(rows.ids[queries], rows.label_ids[queries]) for rows in self.found]
        return Competing(self.labels[queries], found)

    def touched(self, counts: IntArray, most: int) -> IntArray:
        """Return the labels, ascending, of which rows are compared.

        They are those to read, and those of rows that were found in a label that is not read whole, because it has more
        than `most` of the `counts` (C,) rows.
        """
        near = [rows.label_ids[(rows.label_ids >= 0) & (counts[rows.label_ids] > most)] for rows in self.found]
        return np.unique(np.concatenate([np.empty(0, np.int64), *self.labels, *near]))


@dataclass(frozen=True)
class ComparedPairs:
    """P pairs of a query and a row, with their cosines in the space of the index and in the metric."""

    queries: IntArray  # (P,)
    ids: IntArray  # (P,) of the rows in the store
    label_ids: IntArray  # (P,) of the rows
    plain: Float64Array  # (P,)
    in_metric: Float64Array  # (P,)

    def __len__(self) -> int:
        return len(self.queries)

    @classmethod
    def joined(cls, parts: Sequence[ComparedPairs]) -> ComparedPairs:
        """Join pairs of different queries or labels, ordered by query, label and row."""
        whole = _concatenated(parts)
        return whole._taken(np.lexsort((whole.ids, whole.label_ids, whole.queries)))

    @classmethod
    def following(cls, parts: Sequence[ComparedPairs]) -> ComparedPairs:
        """Join pairs of consecutive queries as they are."""
        return _concatenated(parts)

    def best(self, k: int) -> ComparedPairs:
        """Keep of each query and label the k nearest rows in either space, equal cosines by row."""
        return self._taken(np.flatnonzero(self._is_best(self.plain, k) | self._is_best(self.in_metric, k)))

    def of_queries(self, start: int, stop: int) -> ComparedPairs:
        """Return those of the queries from `start` to before `stop`, which are numbered from 0 then."""
        return self._taken(np.flatnonzero((self.queries >= start) & (self.queries < stop))).numbered_from(-start)

    def numbered_from(self, start: int) -> ComparedPairs:
        """Return the same of queries whose numbers begin with `start`."""
        return ComparedPairs(self.queries + start, self.ids, self.label_ids, self.plain, self.in_metric)

    def _is_best(self, cosines: Float64Array, k: int) -> BoolArray:
        order = np.lexsort((self.ids, -cosines, self.label_ids, self.queries))
        queries, label_ids = self.queries[order], self.label_ids[order]
        is_first = np.ones(len(order), bool)
        is_first[1:] = (queries[1:] != queries[:-1]) | (label_ids[1:] != label_ids[:-1])
        is_best = np.empty(len(order), bool)
        is_best[order] = ranks(np.cumsum(is_first)) < k
        return is_best

    def _taken(self, places: IntArray) -> ComparedPairs:
        return ComparedPairs(
            self.queries[places], self.ids[places], self.label_ids[places], self.plain[places], self.in_metric[places]
        )


def _concatenated(parts: Sequence[ComparedPairs]) -> ComparedPairs:
    none, nothing = np.empty(0, np.int64), np.empty(0)
    return ComparedPairs(
        np.concatenate([none, *(part.queries for part in parts)]),
        np.concatenate([none, *(part.ids for part in parts)]),
        np.concatenate([none, *(part.label_ids for part in parts)]),
        np.concatenate([nothing, *(part.plain for part in parts)]),
        np.concatenate([nothing, *(part.in_metric for part in parts)]),
    )
