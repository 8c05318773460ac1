"""Reads from a store the rows that compete for each query: which labels, and then their rows, each once a block."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.protocols import RowStore
from lmm_classifier.core.rows import ColumnName, RowBlock, empty_rows, join_rows
from lmm_classifier.neighbors.gallery import directions
from lmm_classifier.neighbors.metric import WithinClassMetric
from lmm_classifier.neighbors.novelty import NEIGHBORS
from lmm_classifier.neighbors.rescoring import number_rows

_BYTES_AT_ONCE = 1 << 28  # of vectors in memory at a time: 268 MB
_NORMS_KEPT = 1 << 23  # norms in memory: 67 MB


@dataclass(frozen=True)
class ReadingLimits:
    """Which rows of a store are read for a query. Answers and calibrations with other limits do not fit together."""

    likely: int = 16  # labels with the nearest means
    nearest: int = 100  # rows nearest in the space in which labels are scored, whose labels are read too
    searched: int = 200  # rows of the largest products there, of which those are the nearest with their norms
    labels: int = 64  # labels in all
    rows: int = 1000  # of one label; always the same ones, and those found near

    @property
    def name(self) -> str:
        """Return them in words, as a calibration names them."""
        nearest = f"{self.nearest} of {self.searched} rows"
        return f"{self.labels} labels of {self.likely} means and {nearest}, {self.rows} rows each"


@dataclass(frozen=True)
class FoundRows:
    """What the search of a store found near n queries: ids (n, k) and labels (n, k), -1 for none; nearest first."""

    ids: IntArray
    label_ids: IntArray

    @classmethod
    def near(cls, store: RowStore, queries: Float32Array, k: int) -> FoundRows:
        """Search the k rows nearest to normalized queries (n, d)."""
        ids, _ = store.nearest(queries, k)
        return cls(ids, labels_of_ids(store, ids))

    def without(self, ids: Sequence[IntArray]) -> FoundRows:
        """Return the same without some ids per query."""
        gone = np.array([np.isin(row, dropped) for row, dropped in zip(self.ids, ids, strict=True)], bool)
        gone = gone.reshape(self.ids.shape)
        return FoundRows(np.where(gone, -1, self.ids), np.where(gone, -1, self.label_ids))

    def of_labels(self, start: int, stop: int) -> FoundRows:
        """Return the same without rows of labels before `start`, or from `stop` on."""
        kept = (self.label_ids >= start) & (self.label_ids < stop)
        return FoundRows(np.where(kept, self.ids, -1), np.where(kept, self.label_ids, -1))


def labels_of_ids(store: RowStore, ids: IntArray) -> IntArray:
    """Return the labels of ids of any shape; -1 stays."""
    unique = np.unique(ids[ids >= 0])
    return _scattered(unique, store.rows_of_ids(unique, ()).label_ids, ids) if len(unique) else np.full(ids.shape, -1)


def _scattered(unique: IntArray, values: NDArray[Any], ids: IntArray) -> NDArray[Any]:
    """Return the value of each id of any shape, of those of the unique ids, at least one; -1 where there is none."""
    return np.where(ids >= 0, values[np.searchsorted(unique, ids).clip(0, len(unique) - 1)], -1)


def competing_labels(
    limits: ReadingLimits, cosines_to_means: Float64Array, neighbors: FoundRows, in_space: FoundRows
) -> list[IntArray]:
    """Return for each of n queries the labels to read, ascending.

    They are the labels with the nearest means, then those of the nearest neighbors, and then those of the rows that
    are nearest in the space of the scores, as many as the limits allow.

    Args:
        limits: how many.
        cosines_to_means: (n, C) in the space of the scores; -inf where a label has no row.
        neighbors: the rows nearest in the space of the index.
        in_space: the rows nearest in the space of the scores.
    """
    chosen, count = [], min(limits.likely, cosines_to_means.shape[1])
    for query, cosines in enumerate(cosines_to_means):
        likely = np.argpartition(-cosines, count - 1)[:count] if count else np.empty(0, np.int64)
        likely = likely[np.lexsort((likely, -cosines[likely]))]
        likely = likely[np.isfinite(cosines[likely])]
        near = neighbors.label_ids[query][:NEIGHBORS]
        wanted = np.concatenate([likely, near, in_space.label_ids[query]])
        labels, first = np.unique(wanted, return_index=True)
        first = np.sort(first[labels >= 0])[: max(limits.labels, 1)]
        chosen.append(np.sort(wanted[first]))
    return chosen


@dataclass(frozen=True)
class LabelRows:
    """The rows read of some labels, sorted by label and id."""

    label_ids: IntArray  # the labels, ascending
    rows: RowBlock  # with vectors
    norms: Float64Array  # of the rows in the metric


@dataclass(frozen=True)
class GatheredRows:
    """The rows read for some queries, each once, and for each query which of them it is compared with."""

    rows: RowBlock  # m, with vectors
    norms: Float64Array  # (m,) in the metric
    of_queries: list[IntArray]  # places among the m rows, for each query

    def pairs(self) -> tuple[IntArray, IntArray]:
        """Return the query and the row (P,) of each pair, ordered by query."""
        return number_rows(self.of_queries)


@dataclass
class RowReader:
    """Reads rows of labels with their norms in a metric; norms are remembered, as many as memory allows."""

    store: RowStore
    metric: WithinClassMetric
    limits: ReadingLimits
    _norms: OrderedDict[int, Float64Array] = field(default_factory=OrderedDict)  # by label
    _kept: int = 0
    _lock: Lock = field(default_factory=Lock)

    def near_in_metric(self, forms: Float64Array, offsets: Float64Array, spare: int = 0) -> FoundRows:
        """Search rows for queries in the metric, given as `ProjectedMetric.forms_and_offsets` (n, d) and (n,).

        The index of the plain vectors finds the rows of the largest products with the forms. The norms of the rows in
        the metric then tell the nearest of them. Where the metric takes square roots, the order of the products stays,
        because they say little about the cosines. `spare` rows more are found.
        """
        directed, lengths = directions(np.asarray(forms, np.float32))
        count = self.limits.nearest + spare
        ids, cosines = self.store.nearest(directed, max(self.limits.searched + spare, count))
        if self.metric.power_normalize:
            return FoundRows(ids[:, :count], labels_of_ids(self.store, ids[:, :count]))
        unique = np.unique(ids[ids >= 0])
        if not len(unique):
            return FoundRows(ids[:, :count], ids[:, :count])
        rows = self.store.rows_of_ids(unique, self._columns(only_norms=True))
        norms = _scattered(unique, self._norms_of(rows), ids)
        products = np.where(ids >= 0, cosines, 0) * lengths[:, None] - offsets[:, None]
        in_metric = np.where(norms > 0, products / np.where(norms > 0, norms, 1), -np.inf)
        order = np.argsort(-in_metric, axis=1, kind="stable")[:, :count]
        ids = np.take_along_axis(ids, order, axis=1)
        return FoundRows(ids, _scattered(unique, rows.label_ids, ids))

    def read(
        self, labels: Sequence[IntArray], found: Sequence[FoundRows], left_out: Sequence[IntArray] = ()
    ) -> Iterator[tuple[slice, GatheredRows]]:
        """Yield consecutive queries with the rows to compare them with, so many that their rows fit in memory.

        Args:
            labels: for each query the labels to read.
            found: rows that the search found, which are read too where their label is too large to be read whole.
            left_out: ids to leave out, per query.
        """
        for part in self._parts(labels):
            yield part, self._read(part, labels[part], found, left_out[part] if left_out else ())

    def _parts(self, labels: Sequence[IntArray]) -> Iterator[slice]:
        sizes = np.minimum(self.store.counts, self.limits.rows)
        most = _BYTES_AT_ONCE // (4 * max(self.store.means.shape[1], 1))
        start, held, together = 0, 0, set[int]()
        for query, wanted in enumerate(labels):
            new = [label for label in wanted.tolist() if label not in together]
            more = int(sizes[new].sum())
            if query > start and held + more > most:
                yield slice(start, query)
                start, held, together = query, 0, set()
                more = int(sizes[wanted].sum())
            together.update(wanted.tolist())
            held += more
        if len(labels) > start:
            yield slice(start, len(labels))

    def _read(
        self, part: slice, labels: Sequence[IntArray], found: Sequence[FoundRows], left_out: Sequence[IntArray]
    ) -> GatheredRows:
        read = self.label_rows(np.unique(np.concatenate([*labels, np.empty(0, np.int64)])))
        return self.gathered(read, labels, [FoundRows(f.ids[part], f.label_ids[part]) for f in found], left_out)

    def label_rows(self, label_ids: IntArray) -> LabelRows:
        """Read labels, given ascending: of each as many rows as the limits allow."""
        store = self.store
        blocks = list(store.rows_of_labels(label_ids, self._columns(), self.limits.rows)) if len(label_ids) else []
        rows = join_rows([*blocks, empty_rows(store.means.shape[1])])
        rows = _taken(rows, np.lexsort((rows.ids, rows.label_ids)))
        return LabelRows(label_ids, rows, self._norms_of_labels(rows))

    def gathered(
        self,
        read: LabelRows,
        labels: Sequence[IntArray],
        found: Sequence[FoundRows],
        left_out: Sequence[IntArray] = (),
    ) -> GatheredRows:
        """Return the rows to compare some queries with: those that were read, and those found in too large labels.

        Args:
            read: rows of all labels of the queries, and perhaps of others.
            labels: for each query its labels.
            found: rows that the search found for the queries.
            left_out: ids to leave out, per query.
        """
        store, rows, most = self.store, read.rows, self.limits.rows
        near = [np.where((f.ids >= 0) & (store.counts[f.label_ids] > most), f.ids, -1) for f in found]
        every_near = np.unique(np.concatenate([rows.ids[:0], *(ids.ravel() for ids in near)]))
        new = np.setdiff1d(every_near[every_near >= 0], rows.ids)
        extra = store.rows_of_ids(new, self._columns()) if len(new) else empty_rows(store.means.shape[1])
        every, norms = join_rows([rows, extra]), np.concatenate([read.norms, self._norms_of(extra)])
        by_id = np.argsort(every.ids, kind="stable")
        starts = np.searchsorted(rows.label_ids, read.label_ids)
        ends = np.searchsorted(rows.label_ids, read.label_ids, side="right")
        of_queries = []
        for number, wanted in enumerate(labels):
            places = np.searchsorted(read.label_ids, wanted)
            own = np.concatenate([np.arange(starts[p], ends[p]) for p in places] or [np.empty(0, np.int64)])
            ids = np.concatenate([rows.ids[:0], *(of[number] for of in near)])
            more = by_id[np.searchsorted(every.ids, np.unique(ids[ids >= 0]), sorter=by_id)]
            own = np.concatenate([own, np.setdiff1d(more, own)])  # whatever other queries read
            if len(left_out):
                own = own[~np.isin(every.ids[own], left_out[number])]
            of_queries.append(own)
        return GatheredRows(every, norms, of_queries)

    def _columns(self, *, only_norms: bool = False) -> tuple[ColumnName, ...]:
        """Return what to read of rows: their norms, or what gives these."""
        if not self.store.has_norms:
            return ("vectors",)
        return ("norms",) if only_norms else ("vectors", "norms")

    def _norms_of(self, rows: RowBlock) -> Float64Array:
        return self.metric.norms(_vectors(rows)) if rows.norms is None else rows.norms

    def _norms_of_labels(self, rows: RowBlock) -> Float64Array:
        """Return the norms (m,) of rows that are sorted by label; those of each label are computed once, if at all."""
        if rows.norms is not None:
            return rows.norms
        labels, starts, counts = np.unique(rows.label_ids, return_index=True, return_counts=True)
        vectors, norms = _vectors(rows), np.empty(len(rows))
        with self._lock:
            known = {label: self._norms.get(label) for label in labels.tolist()}
        missing = [
            np.arange(start, start + count)
            for label, start, count in zip(labels.tolist(), starts, counts)
            if known[label] is None
        ]
        places = np.concatenate([*missing, np.empty(0, np.int64)])
        norms[places] = self.metric.norms(vectors[places])
        for label, start, count in zip(labels.tolist(), starts, counts):
            of_label = known[label]
            if of_label is None:
                self._keep(label, norms[start : start + count].copy())
            else:
                norms[start : start + count] = of_label
        return norms

    def _keep(self, label: int, norms: Float64Array) -> None:
        with self._lock:
            if label in self._norms:
                return
            self._norms[label] = norms
            self._kept += len(norms)
            while self._kept > _NORMS_KEPT:
                self._kept -= len(self._norms.popitem(last=False)[1])


def _taken(rows: RowBlock, order: IntArray) -> RowBlock:
    if (order[1:] > order[:-1]).all():
        return rows
    norms = None if rows.norms is None else rows.norms[order]
    return RowBlock(rows.ids[order], rows.label_ids[order], _vectors(rows)[order], norms=norms)


def _vectors(rows: RowBlock) -> Float32Array:
    if rows.vectors is None:
        raise ValueError("expected rows with vectors, got a store that left them out")
    return rows.vectors
