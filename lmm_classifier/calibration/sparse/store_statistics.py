"""What a calibration needs to know of all rows of a store: their scatter, a sample, and the density of each label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.core.protocols import RowStore
from lmm_classifier.core.rows import RowBlock, join_rows
from lmm_classifier.neighbors.metric import WithinClassScatter, apply_power_normalization, scatter_of
from lmm_classifier.neighbors.novelty import NEIGHBORS
from lmm_classifier.neighbors.row_sums import RowSums, scatter_of_sums

_READ = 4096  # rows at a time
_SPARE = 4  # rows of a label that are read for a sample, beyond those that are expected
_SEARCHED = 512  # rows whose neighbors are searched at a time
_DENSITY_ROWS = 20_000  # rows that tell the density, of all labels together


def fit_store_scatter(store: RowStore, power_normalize: bool | None = None) -> WithinClassScatter:
    """Measure the pooled scatter within labels of all rows; memory does not grow with their number.

    Where the store has sums over its rows, none is read. Otherwise they are read once; twice where the metric takes
    square roots, because the store has no means of these. `power_normalize` None takes them where no number is
    negative, as `fit_scatter` does.
    """
    counts, made = store.counts, store.sums()
    if made is not None:
        if power_normalize is None:
            power_normalize = made.rooted_sums is not None
        if not power_normalize:
            sums = RowSums(store.means * counts[:, None], made.products)
            return scatter_of_sums(counts, sums, power_normalize=False)
        if made.rooted_sums is not None and made.rooted_products is not None:
            return scatter_of_sums(counts, RowSums(made.rooted_sums, made.rooted_products), power_normalize=True)
    if power_normalize is None:
        power_normalize = bool((store.means >= 0).all()) and all(
            (np.asarray(block.vectors) >= 0).all() for block in _vectors(store)
        )
    sums_of_labels = store.means * counts[:, None]
    if power_normalize:
        sums_of_labels = np.zeros(store.means.shape)
        for block in _vectors(store):
            np.add.at(sums_of_labels, block.label_ids, _rows(block, power_normalize))
    means, total = sums_of_labels / np.maximum(counts, 1)[:, None], int(counts.sum())
    center = (sums_of_labels.sum(axis=0) / max(total, 1)).astype(np.float32)
    deviations = (_rows(block, power_normalize) - means[block.label_ids] for block in _vectors(store))
    freedom = max(total - int((counts > 0).sum()), 1)
    return scatter_of(deviations, total, freedom, means, center, power_normalize)


def sample_of_store(store: RowStore, most: int) -> RowBlock:
    """Read the rows with the lowest content hashes, with their vectors, ordered by id.

    The rows of a label are in the order of their contents, so only the first ones of each label are read: as many as
    are expected among the lowest, and more of those labels where these were not enough.
    """
    counts, total = store.counts, int(store.counts.sum())
    wanted, found = np.zeros(len(counts), np.int64), dict[int, tuple[IntArray, list[str]]]()
    more = np.minimum(counts, np.ceil(2 * counts * min(most / max(total, 1), 1)).astype(np.int64) + _SPARE)
    while (asked := np.flatnonzero(more > wanted)).size:
        _read_first(store, asked, more, found)
        wanted = np.maximum(wanted, more)
        last = _lowest(found, most)[1]
        # a label whose last row that was read is among the lowest may have more of them
        open_ended = [label for label in found if wanted[label] < counts[label] and found[label][1][-1] <= last]
        more = wanted.copy()
        more[open_ended] = np.minimum(counts[open_ended], 2 * wanted[open_ended])
    ids = np.sort(_lowest(found, most)[0])
    parts = [store.rows_of_ids(ids[start : start + _READ], ("vectors",)) for start in range(0, len(ids), _READ)]
    return join_rows(parts) if parts else store.rows_of_ids(ids, ("vectors",))


def _read_first(
    store: RowStore, labels: IntArray, counts: IntArray, found: dict[int, tuple[IntArray, list[str]]]
) -> None:
    """Read the ids and contents of the first `counts` rows of labels, those of a similar number together."""
    for size in np.unique(_rounded(counts[labels])).tolist():
        of_size = labels[_rounded(counts[labels]) == size]
        rows = dict[int, tuple[list[int], list[str]]]()
        for block in store.rows_of_labels(of_size, ("contents",), size):
            for row, label, content in zip(block.ids.tolist(), block.label_ids.tolist(), block.contents or ()):
                ids, contents = rows.setdefault(label, ([], []))
                ids.append(row)
                contents.append(content)
        for label, (ids, contents) in rows.items():
            kept = int(counts[label])
            found[label] = np.array(ids[:kept], np.int64), contents[:kept]


def _rounded(counts: IntArray) -> IntArray:
    """Return the next powers of two."""
    return np.asarray(1 << np.ceil(np.log2(np.maximum(counts, 1))).astype(np.int64), np.int64)


def _lowest(found: Mapping[int, tuple[IntArray, list[str]]], most: int) -> tuple[IntArray, str]:
    """Return the ids of the rows with the lowest contents, and the highest of these contents."""
    ids = np.concatenate([np.empty(0, np.int64), *(ids for ids, _ in found.values())])
    contents = np.array([content for _, contents in found.values() for content in contents], np.str_)
    order = np.lexsort((ids, contents))[:most]
    return ids[order], str(contents[order[-1]]) if len(order) else ""


def label_densities(store: RowStore) -> Float64Array:
    """Return for each label (C,) the mean of 1 - mean cosine of its rows to their ten nearest others.

    Ten rows of a label tell it, fewer where there are very many labels. A label that is not asked about has the mean
    of the others.
    """
    counts = store.counts
    with_rows = np.flatnonzero(counts)
    asked = with_rows
    if len(with_rows) > _DENSITY_ROWS:
        asked = with_rows[np.linspace(0, len(with_rows) - 1, _DENSITY_ROWS).astype(np.int64)]
    most = max(min(NEIGHBORS, _DENSITY_ROWS // max(len(asked), 1)), 1)
    totals, number = np.zeros(len(counts)), np.zeros(len(counts), np.int64)
    for block in _in_batches(store.rows_of_labels(asked, ("vectors",), most)):
        distances = _distances(store, block)
        np.add.at(totals, block.label_ids, distances)
        np.add.at(number, block.label_ids, 1)
    known = number > 0
    overall = totals.sum() / max(int(number.sum()), 1) if known.any() else 1.0
    return np.where(known, totals / np.maximum(number, 1), overall)


def _in_batches(blocks: Iterable[RowBlock]) -> Iterator[RowBlock]:
    """Join small blocks, because a search of many rows at once is faster."""
    held, count = list[RowBlock](), 0
    for block in blocks:
        held.append(block)
        count += len(block)
        if count >= _SEARCHED:
            yield join_rows(held)
            held, count = [], 0
    if held:
        yield join_rows(held)


def _distances(store: RowStore, block: RowBlock) -> Float64Array:
    """Return 1 - mean cosine (b,) of rows to their nearest others; 1 where there is no other."""
    ids, cosines = store.nearest(np.asarray(block.vectors, np.float32), NEIGHBORS + 1)
    is_other = (ids >= 0) & (ids != block.ids[:, None])
    is_other &= np.cumsum(is_other, axis=1) <= NEIGHBORS
    count = is_other.sum(axis=1)
    return np.where(count > 0, 1 - np.where(is_other, cosines, 0).sum(axis=1) / np.maximum(count, 1), 1.0)


def others_of(rows: RowBlock, labels: int, each: int) -> list[IntArray]:
    """Return for each row `each` labels at random, ascending; the same ones with every call."""
    draw = np.random.default_rng(0)
    return [np.unique(draw.integers(0, labels, min(each, labels))) for _ in range(len(rows))]


def _vectors(store: RowStore) -> Iterator[RowBlock]:
    yield from store.blocks(("vectors",))


def _rows(block: RowBlock, power_normalize: bool) -> Float64Array:
    return apply_power_normalization(np.asarray(block.vectors, np.float32), power_normalize).astype(np.float64)
