"""What a calibration needs to know of all rows of a store: their scatter, a sample, and the density of each label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.core.protocols import RowStore
from lmm_classifier.core.rows import RowBlock, join_rows
from lmm_classifier.neighbors.metric import WithinClassScatter
from lmm_classifier.neighbors.novelty import NEIGHBORS
from lmm_classifier.neighbors.row_statistics import PartStatistics, add_up, scatter_by_sums

_READ = 4096  # rows at a time
_SEARCHED = 512  # rows whose neighbors are searched at a time
_DENSITY_ROWS = 20_000  # rows that tell the density, of all labels together


def fit_store_scatter(store: RowStore, power_normalize: bool | None = None) -> WithinClassScatter:
    """Return the pooled scatter within labels of all rows, by their statistics.

    `power_normalize` None takes square roots where no number is negative, as `fit_scatter` does. Where they are asked
    for although some number is negative, the rows are read once, since statistics have no sums of such roots.
    """
    statistics = store.statistics
    if power_normalize and statistics.rooted is None:
        labels, width = statistics.means.shape
        parts = (
            PartStatistics.of(np.asarray(block.vectors), block.label_ids, [""] * len(block), most=0, with_roots=True)
            for block in store.blocks(("vectors",))
        )
        statistics = add_up(((f"{number:012}", part) for number, part in enumerate(parts)), labels, width)
    return scatter_by_sums(statistics, power_normalize)


def sample_of_store(store: RowStore, most: int) -> RowBlock:
    """Read the rows with the lowest content hashes, with their vectors, ordered by id.

    Raises:
        ValueError: more are asked for than statistics tell.
    """
    statistics = store.statistics
    if min(most, int(statistics.counts.sum())) > len(statistics.lowest):
        raise ValueError(f"expected a sample of at most {len(statistics.lowest)} rows, got {most}")
    ids = np.sort(statistics.lowest[:most])
    parts = [store.rows_of_ids(ids[start : start + _READ], ("vectors",)) for start in range(0, len(ids), _READ)]
    return join_rows(parts) if parts else store.rows_of_ids(ids, ("vectors",))


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
