"""The rows of a store that queries must not be compared with, and what is left of their labels without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.core.protocols import RowStore
from lmm_classifier.core.rows import RowBlock
from lmm_classifier.neighbors.metric import apply_power_normalization


@dataclass(frozen=True)
class LeftOutRows:
    """The rows that are left out of each query."""

    rows: RowBlock  # each once, by id
    of_queries: Sequence[IntArray]  # ids, per query

    @classmethod
    def read(cls, store: RowStore, of_queries: Sequence[IntArray]) -> LeftOutRows:
        """Read the rows with these ids, which are given per query."""
        ids = np.unique(np.concatenate([np.empty(0, np.int64), *of_queries]))
        rows = store.rows_of_ids(ids, ("vectors",)) if len(ids) else RowBlock(ids, ids)
        return cls(rows, of_queries)

    def changed(
        self, means: Float64Array, counts: IntArray, power_normalize: bool = False
    ) -> list[list[tuple[int, int, Float64Array]]]:
        """Return for each query the labels that lose rows, with their remaining count and their mean (d,)."""
        changes = []
        for ids in self.of_queries:
            places = np.searchsorted(self.rows.ids, np.unique(ids))
            label_ids, lost = self.rows.label_ids[places], []
            for label in np.unique(label_ids).tolist():
                vectors = np.asarray(self.rows.vectors, np.float32)[places[label_ids == label]]
                rooted = apply_power_normalization(vectors, power_normalize).astype(np.float64)
                count = int(counts[label]) - len(vectors)
                lost.append((label, count, (means[label] * counts[label] - rooted.sum(axis=0)) / max(count, 1)))
            changes.append(lost)
        return changes
