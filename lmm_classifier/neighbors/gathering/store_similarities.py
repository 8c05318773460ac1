"""Similarities of queries to a store of rows that memory does not hold: means of all labels, rows of a few.

All labels are compared by their mean rows, which are in memory. The rows of the labels that compete are read. The
metric is applied to the queries, also for the search: a row near to (z P') in the space of the index is near to z in
the metric, but for the norms of the rows, by which those found are put in order. So one search index serves both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.linalg import ReproducibleMatmul64
from lmm_classifier.core.protocols import RowStore
from lmm_classifier.core.rows import RowBlock
from lmm_classifier.neighbors.gallery import ProjectedMetric, directions
from lmm_classifier.neighbors.gathering.gathered import GatheredSimilarities, RowsInSpace, UnreadLabels
from lmm_classifier.neighbors.gathering.left_out_shortlist import LeftOutPairs
from lmm_classifier.neighbors.gathering.reading import (
    FoundRows,
    GatheredRows,
    ReadingLimits,
    RowReader,
    competing_labels,
)
from lmm_classifier.neighbors.leave_one_out import Downdate
from lmm_classifier.neighbors.metric import WithinClassMetric, apply_power_normalization
from lmm_classifier.neighbors.novelty import NEIGHBORS
from lmm_classifier.neighbors.rescoring import QueryRowPairs

_TINY = 1e-12
_AT_ONCE = 1 << 22  # queries times labels at a time: 34 MB in float64
_MOST_QUERIES = 64

Both = tuple[GatheredSimilarities, GatheredSimilarities]  # in the space of the index, in the metric
Cosines = Callable[[RowsInSpace, IntArray, IntArray], Float64Array]  # of pairs of a query and a row


@dataclass(frozen=True)
class LabelMeans:
    """The mean rows of C labels in one space, d numbers each, and how many rows each label has."""

    means: Float64Array  # (C, d)
    counts: IntArray  # (C,)

    @cached_property
    def _multiply(self) -> ReproducibleMatmul64:
        return ReproducibleMatmul64(self.means.T)

    @cached_property
    def _squares(self) -> Float64Array:
        return np.asarray(np.square(self.means).sum(axis=1))

    def compare(
        self, queries: Float32Array, norms: Float64Array, changed: Sequence[Sequence[tuple[int, int, Float64Array]]]
    ) -> tuple[Float64Array, Float64Array]:
        """Return cosines and squared distances (n, C) of queries, given as directions (n, d) and norms (n,).

        `changed` has for each query the labels that lose rows, each with its remaining count and its mean.
        """
        dots = self._multiply(queries)
        squares = np.broadcast_to(self._squares, dots.shape).copy()
        has_rows = np.broadcast_to(self.counts > 0, dots.shape).copy()
        for query, labels in enumerate(changed):
            for label, count, mean in labels:
                dots[query, label] = (mean * queries[query]).sum()
                squares[query, label] = np.square(mean).sum()
                has_rows[query, label] = count > 0
        norm = norms[:, None]
        cosines = np.where(has_rows, dots / np.maximum(np.sqrt(squares), _TINY), -np.inf)
        return cosines, np.where(has_rows, squares - 2 * norm * dots + norm * norm, np.inf)


class StoreComparison:
    """Compares queries with a store, in the space of the index and in the within-class metric at once.

    Args:
        store: N rows of C labels, d numbers each.
        metric: the within-class metric.
        means: of the labels, (C, d), as `WithinClassScatter.means` has them: of square roots where the metric takes
            them.
        in_metric: whether labels are scored in the metric, so that the rows near there are read.
        limits: which rows are read.
        unread: what is put for labels of which no row is read.
        downdate: (1 - shrinkage) / freedom of the metric; only to leave rows out exactly.
    """

    def __init__(
        self,
        store: RowStore,
        metric: WithinClassMetric,
        means: Float64Array,
        in_metric: bool = True,
        limits: ReadingLimits | None = None,
        unread: UnreadLabels | None = None,
        downdate: float = 0.0,
    ) -> None:
        self.store, self.metric = store, metric
        self.limits = limits or ReadingLimits()
        self.unread = unread or UnreadLabels()
        self._rooted_means = means
        self._scores_in_metric, self._downdate = in_metric, downdate
        self._projected = ProjectedMetric(metric.center, metric.projection, np.empty(0))
        self._reader = RowReader(store, metric, self.limits)

    def with_unread(self, unread: UnreadLabels) -> StoreComparison:
        """Return the same comparison with something else for labels that are not read; what is computed is shared."""
        other = copy(self)
        other.unread = unread
        return other

    @property
    def queries_at_once(self) -> int:
        """How many queries to compare at a time, so that memory does not grow with the labels."""
        return max(min(_AT_ONCE // max(len(self.store.counts), 1), _MOST_QUERIES), 1)

    @cached_property
    def _plain_means(self) -> LabelMeans:
        return LabelMeans(self.store.means, self.store.counts)

    @cached_property
    def _metric_means(self) -> LabelMeans:
        return LabelMeans(self._projected.mapped(self._rooted_means), self.store.counts)

    @cached_property
    def _removals(self) -> tuple[Downdate, Downdate]:
        counts = self.store.counts
        plain = Downdate.of(counts, self.store.means, 0.0, centered=False)
        return plain, Downdate.of(counts, self._metric_means.means, self._downdate, centered=True)

    def compare(self, queries: Float32Array, left_out: Sequence[IntArray] = ()) -> Both:
        """Compare queries (n, d) with the store, without the rows whose ids `left_out` has per query, if given."""
        embeddings, norms = directions(queries)
        mapped, mapped_norms = directions(self.metric.whiten(embeddings))
        gone = _LeftOutRows.read(self.store, left_out)
        of_plain = self._plain_means.compare(embeddings, norms, gone.changed(self.store.means, self.store.counts))
        changed = gone.changed(self._rooted_means, self.store.counts, self.metric.power_normalize)
        changed = [[(label, count, self._projected.mapped(mean[None])[0]) for label, count, mean in c] for c in changed]
        of_metric = self._metric_means.compare(mapped, mapped_norms, changed)

        def cosines_plain(space: RowsInSpace, of: IntArray, rows: IntArray) -> Float64Array:
            return space.products(embeddings, of, rows)

        def cosines_in_metric(space: RowsInSpace, of: IntArray, rows: IntArray) -> Float64Array:
            norms = np.sqrt(space.squares(rows))
            products = space.products(mapped, of, rows)
            return np.asarray(np.where(norms > _TINY, products / np.maximum(norms, _TINY), 0))

        return self._gathered((embeddings, mapped), (of_plain, of_metric), (cosines_plain, cosines_in_metric), left_out)

    def leave_out(self, rows: RowBlock, labels: Sequence[IntArray] | None = None) -> Both:
        """Compare rows of the store (b,), with vectors, each with the store without it; exact but for the search.

        `labels` are those to read for each; None: those that compete.
        """
        vectors = np.asarray(rows.vectors, np.float32)
        rooted = apply_power_normalization(vectors, self.metric.power_normalize).astype(np.float64)
        z = vectors.astype(np.float64), self._projected.mapped(rooted)
        pairs = [LeftOutPairs.of(removal, part, rows.label_ids) for removal, part in zip(self._removals, z)]
        to_means = pairs[0].terms.to_means(), pairs[1].terms.to_means()
        embeddings = directions(vectors)[0], directions(np.asarray(z[1], np.float32))[0]
        own = [np.array([number]) for number in rows.ids]
        return self._gathered(embeddings, to_means, (pairs[0].cosines, pairs[1].cosines), own, labels)

    def blocks(self, rows: RowBlock) -> Iterator[tuple[slice, GatheredSimilarities, GatheredSimilarities]]:
        """Leave out many rows, and yield them block by block."""
        size = self.queries_at_once
        for start in range(0, len(rows), size):
            part = slice(start, min(start + size, len(rows)))
            block = RowBlock(rows.ids[part], rows.label_ids[part], np.asarray(rows.vectors, np.float32)[part])
            yield (part, *self.leave_out(block))

    def _gathered(
        self,
        embeddings: tuple[Float32Array, Float32Array],
        to_means: tuple[tuple[Float64Array, Float64Array], tuple[Float64Array, Float64Array]],
        cosines: tuple[Cosines, Cosines],
        left_out: Sequence[IntArray],
        labels: Sequence[IntArray] | None = None,
    ) -> Both:
        found: list[FoundRows] = []
        if labels is None:
            found = self._search(embeddings, left_out)
            labels = competing_labels(self.limits, to_means[1 if self._scores_in_metric else 0][0], *found)
        parts = list(self._compared(labels, found, left_out, cosines))
        both = []
        for space in (0, 1):
            pairs = QueryRowPairs(
                len(embeddings[0]),
                np.concatenate([np.empty(0, np.int64), *(part[0] for part in parts)]),
                np.concatenate([np.empty(0, np.int64), *(part[1] for part in parts)]),
                np.concatenate([np.empty(0), *(part[3][space] for part in parts)]),
            )
            label_ids = np.concatenate([np.empty(0, np.int64), *(part[2] for part in parts)])
            unread = self.unread if bool(space) == self._scores_in_metric else UnreadLabels()
            both.append(GatheredSimilarities(embeddings[space], pairs, label_ids, *to_means[space], unread))
        return both[0], both[1]

    def _search(self, embeddings: tuple[Float32Array, Float32Array], left_out: Sequence[IntArray]) -> list[FoundRows]:
        """Return the rows near in the space of the index, for the density, and near in that of the scores."""
        spare = max(map(len, left_out), default=0)
        neighbors = FoundRows.near(self.store, embeddings[0], NEIGHBORS + spare)
        if self._scores_in_metric:
            in_space = self._reader.near_in_metric(*self._projected.forms_and_offsets(embeddings[1]), spare)
        else:
            in_space = FoundRows.near(self.store, embeddings[0], self.limits.nearest + spare)
        found = [neighbors, in_space]
        return [rows.without(left_out) for rows in found] if spare else found

    def _compared(
        self,
        labels: Sequence[IntArray],
        found: Sequence[FoundRows],
        left_out: Sequence[IntArray],
        cosines: tuple[Cosines, Cosines],
    ) -> Iterator[tuple[IntArray, IntArray, IntArray, list[Float64Array]]]:
        """Yield queries, ids and labels (P,) of pairs, and their cosines in both spaces, part by part."""
        for part, gathered in self._reader.read(labels, found, left_out):
            queries, rows = gathered.pairs()
            queries = queries + part.start
            found_cosines = [of(space, queries, rows) for of, space in zip(cosines, self._spaces(gathered))]
            yield queries, gathered.rows.ids[rows], gathered.rows.label_ids[rows], found_cosines

    def _spaces(self, gathered: GatheredRows) -> tuple[RowsInSpace, RowsInSpace]:
        vectors = np.asarray(gathered.rows.vectors, np.float32)
        rooted = apply_power_normalization(vectors, self.metric.power_normalize)
        return RowsInSpace(vectors), RowsInSpace(rooted, gathered.norms, self._projected)


@dataclass(frozen=True)
class _LeftOutRows:
    """The rows that are left out of each query."""

    rows: RowBlock  # each once, by id
    of_queries: Sequence[IntArray]  # ids, per query

    @classmethod
    def read(cls, store: RowStore, of_queries: Sequence[IntArray]) -> _LeftOutRows:
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
