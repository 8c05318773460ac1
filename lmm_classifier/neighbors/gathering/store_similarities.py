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
from lmm_classifier.neighbors.gathering.compared_pairs import ComparedPairs, Competing
from lmm_classifier.neighbors.gathering.gathered import GatheredSimilarities, RowsInSpace, UnreadLabels
from lmm_classifier.neighbors.gathering.left_out_rows import LeftOutRows
from lmm_classifier.neighbors.gathering.left_out_shortlist import LeftOutPairs
from lmm_classifier.neighbors.gathering.reading import (
    FoundRows,
    GatheredRows,
    LabelRows,
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
ToMeans = tuple[tuple[Float64Array, Float64Array], tuple[Float64Array, Float64Array]]  # cosines, distances: in both
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
        self.store: RowStore = store
        self.metric: WithinClassMetric = metric
        self.limits: ReadingLimits = limits or ReadingLimits()
        self.unread: UnreadLabels = unread or UnreadLabels()
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

    def compare(
        self, queries: Float32Array, left_out: Sequence[IntArray] = (), pairs: ComparedPairs | None = None
    ) -> Both:
        """Compare queries (n, d) with the store, without the rows whose ids `left_out` has per query, if given.

        `pairs` are those of the queries, where they were compared already.
        """
        mapped = self._mapped(queries)
        to_means = self._to_means(mapped, left_out)
        if pairs is not None:
            return self._joined(mapped.embeddings, to_means, pairs)
        return self._gathered(mapped.embeddings, to_means, (mapped.plain, mapped.in_metric), left_out)

    def competing(self, queries: Float32Array, left_out: Sequence[IntArray] = ()) -> Competing:
        """Return what competes for queries (n, d), as `compare` finds it."""
        mapped = self._mapped(queries)
        return self._competing(mapped.embeddings, self._to_means(mapped, left_out), left_out)

    def label_rows(self, label_ids: IntArray) -> LabelRows:
        """Read the rows of some labels, given ascending."""
        return self._reader.label_rows(label_ids)

    def pairs(
        self, queries: Float32Array, read: LabelRows, competing: Competing, left_out: Sequence[IntArray] = ()
    ) -> ComparedPairs:
        """Compare queries (n, d) with rows that were read, which are those of all labels in `competing`."""
        mapped = self._mapped(queries)
        gathered = self._reader.gathered(read, competing.labels, competing.found, left_out)
        return self._compared_pairs(gathered, 0, (mapped.plain, mapped.in_metric))

    def _mapped(self, queries: Float32Array) -> _MappedQueries:
        embeddings, norms = directions(queries)
        return _MappedQueries(embeddings, norms, *directions(self.metric.whiten(embeddings)))

    def _to_means(self, queries: _MappedQueries, left_out: Sequence[IntArray]) -> ToMeans:
        gone = LeftOutRows.read(self.store, left_out)
        plain, in_metric = queries.embeddings
        of_plain = self._plain_means.compare(plain, queries.norms, gone.changed(self.store.means, self.store.counts))
        changed = gone.changed(self._rooted_means, self.store.counts, self.metric.power_normalize)
        changed = [[(label, count, self._projected.mapped(mean[None])[0]) for label, count, mean in c] for c in changed]
        return of_plain, self._metric_means.compare(in_metric, queries.mapped_norms, changed)

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
        to_means: ToMeans,
        cosines: tuple[Cosines, Cosines],
        left_out: Sequence[IntArray],
        labels: Sequence[IntArray] | None = None,
    ) -> Both:
        competing = self._competing(embeddings, to_means, left_out) if labels is None else Competing(labels, [])
        read = self._reader.read(competing.labels, competing.found, left_out)
        parts = [self._compared_pairs(gathered, part.start, cosines) for part, gathered in read]
        return self._joined(embeddings, to_means, ComparedPairs.following(parts))

    def _competing(
        self, embeddings: tuple[Float32Array, Float32Array], to_means: ToMeans, left_out: Sequence[IntArray]
    ) -> Competing:
        found = self._search(embeddings, left_out)
        cosines_to_means = to_means[1 if self._scores_in_metric else 0][0]
        return Competing(competing_labels(self.limits, cosines_to_means, *found), found)

    def _joined(
        self, embeddings: tuple[Float32Array, Float32Array], to_means: ToMeans, compared: ComparedPairs
    ) -> Both:
        both = []
        for space, cosines in enumerate((compared.plain, compared.in_metric)):
            pairs = QueryRowPairs(len(embeddings[0]), compared.queries, compared.ids, cosines)
            unread = self.unread if bool(space) == self._scores_in_metric else UnreadLabels()
            both.append(GatheredSimilarities(embeddings[space], pairs, compared.label_ids, *to_means[space], unread))
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

    def _compared_pairs(self, gathered: GatheredRows, start: int, cosines: tuple[Cosines, Cosines]) -> ComparedPairs:
        """Return the pairs with their cosines in both spaces; the first query has the number `start`."""
        queries, rows = gathered.pairs()
        queries = queries + start
        found = [of(space, queries, rows) for of, space in zip(cosines, self._spaces(gathered))]
        return ComparedPairs(queries, gathered.rows.ids[rows], gathered.rows.label_ids[rows], *found)

    def _spaces(self, gathered: GatheredRows) -> tuple[RowsInSpace, RowsInSpace]:
        vectors = np.asarray(gathered.rows.vectors, np.float32)
        rooted = apply_power_normalization(vectors, self.metric.power_normalize)
        return RowsInSpace(vectors), RowsInSpace(rooted, gathered.norms, self._projected)


@dataclass(frozen=True)
class _MappedQueries:
    """n queries in the space of the index and in the metric: directions and norms."""

    directions: Float32Array  # (n, d)
    norms: Float64Array  # (n,)
    mapped: Float32Array  # (n, e)
    mapped_norms: Float64Array  # (n,)

    @property
    def embeddings(self) -> tuple[Float32Array, Float32Array]:
        """The directions in both spaces."""
        return self.directions, self.mapped

    def plain(self, space: RowsInSpace, of: IntArray, rows: IntArray) -> Float64Array:
        """Return the cosines (P,) of pairs in the space of the index."""
        return space.products(self.directions, of, rows)

    def in_metric(self, space: RowsInSpace, of: IntArray, rows: IntArray) -> Float64Array:
        """Return the cosines (P,) of pairs in the metric."""
        norms = np.sqrt(space.squares(rows))
        products = space.products(self.mapped, of, rows)
        return np.asarray(np.where(norms > _TINY, products / np.maximum(norms, _TINY), 0))
