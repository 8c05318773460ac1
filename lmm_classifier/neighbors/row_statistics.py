"""Statistics of labeled rows by parts: counts, sums and products that add up, in one pass.

Sums of floating point numbers depend on their order. So parts are added in the order of their names, whichever came
first, and the result has the same bits each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import Arrays, Float32Array, Float64Array, IntArray
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.linalg import single_threaded_blas
from lmm_classifier.core.rows import RowStatistics, RowSums
from lmm_classifier.neighbors.metric import WithinClassScatter, apply_power_normalization

LARGEST_SAMPLE = 20_000  # rows with the lowest contents that are known: more are never asked for
_BLOCK = 4096  # rows taken at a time
_ROUNDING = 1e-14  # of the sum of all squares: what is smaller is no variance, but the rounding of the sums


@dataclass(frozen=True)
class PartStatistics:
    """What one part of the rows adds to the statistics of all.

    Example:
        >>> import numpy as np
        >>> from lmm_classifier.neighbors.row_statistics import PartStatistics
        >>> rows = np.eye(3, 4, dtype=np.float32)
        >>> part = PartStatistics.of(rows, np.array([5, 5, 9]), ["b2", "a1", "c3"])
        >>> part.label_ids.tolist(), part.counts.tolist(), part.places.tolist()
        ([5, 9], [2, 1], [1, 0, 2])
    """

    label_ids: IntArray  # (l,) that have rows here, ascending
    counts: IntArray  # (l,)
    plain: RowSums
    rooted: RowSums | None  # None where a number is negative
    contents: NDArray[np.bytes_]  # (k,) the lowest ones, ascending
    places: IntArray  # (k,) of their rows in this part

    @classmethod
    @single_threaded_blas
    def of(
        cls,
        rows: Float32Array,
        label_ids: IntArray,
        contents: Sequence[str],
        most: int = LARGEST_SAMPLE,
        with_roots: bool = False,
    ) -> PartStatistics:
        """Return the statistics of rows.

        Args:
            rows: normalized, (n, d).
            label_ids: (n,) their labels.
            contents: n SHA-256 of their images.
            most: how many of the lowest contents are kept.
            with_roots: whether signed square roots are added up although a number is negative.

        Raises:
            ValueError: there are more or fewer labels or contents than rows.
        """
        if len(rows) != len(label_ids) or len(contents) != len(rows):
            found = f"{len(label_ids)} labels and {len(contents)} contents"
            raise ValueError(f"expected a label and a content for each of {len(rows)} rows, got {found}")
        known, labels = np.unique(np.asarray(label_ids, np.int64), return_inverse=True)
        counts = np.bincount(labels, minlength=len(known)).astype(np.int64)
        is_rooted = with_roots or bool((rows >= 0).all())
        rooted = _sums(rows, labels, len(known), True) if is_rooted else None
        lowest, places = _as_bytes(contents), np.arange(len(rows))
        order = np.lexsort((places, lowest))[:most]
        return cls(known, counts, _sums(rows, labels, len(known), False), rooted, lowest[order], places[order])

    def to_arrays(self) -> Arrays:
        """Return the arrays from which `from_arrays` rebuilds this part."""
        arrays: dict[str, NDArray[Any]] = {
            "label_ids": self.label_ids,
            "counts": self.counts,
            "sums": self.plain.sums,
            "products": self.plain.products,
            "contents": np.frombuffer(self.contents.tobytes(), np.uint8),
            "places": self.places,
        }
        if self.rooted is not None:
            arrays |= {"rooted_sums": self.rooted.sums, "rooted_products": self.rooted.products}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> PartStatistics:
        """Undo `to_arrays`; raise IndexFileError where the shapes do not fit."""
        try:
            ids, counts = arrays["label_ids"].astype(np.int64), arrays["counts"].astype(np.int64)
            plain = RowSums(arrays["sums"], arrays["products"])
            rooted = RowSums(arrays["rooted_sums"], arrays["rooted_products"]) if "rooted_sums" in arrays else None
            places, characters = arrays["places"].astype(np.int64), np.asarray(arrays["contents"], np.uint8)
            size = max(len(characters) // max(len(places), 1), 1)
            contents = np.frombuffer(characters.tobytes(), f"S{size}")
        except (KeyError, ValueError) as error:
            raise IndexFileError(f"The statistics of a part are damaged: {error}. Make them again.") from None
        width = plain.products.shape[-1] if plain.products.ndim == 2 else -1
        is_sound = len(contents) == len(places) and len(counts) == len(ids)
        for sums in filter(None, (plain, rooted)):
            is_sound &= sums.sums.shape == (len(ids), width) and sums.products.shape == (width, width)
        if not is_sound:
            raise IndexFileError("The statistics of a part are damaged: their shapes do not fit. Make them again.")
        return cls(ids, counts, plain, rooted, contents, places)


class StatisticsSum:
    """Adds up parts in the order of the rows; one part is in memory at a time.

    Args:
        labels: C.
        width: d.
        most: how many of the lowest contents are kept.

    Example:
        >>> import numpy as np
        >>> from lmm_classifier.neighbors.row_statistics import PartStatistics, StatisticsSum
        >>> total, rows = StatisticsSum(labels=2, width=4), np.eye(2, 4, dtype=np.float32)
        >>> total.add("first", PartStatistics.of(rows, np.array([0, 1]), ["d", "b"]))
        >>> total.add("second", PartStatistics.of(rows, np.array([1, 1]), ["a", "c"]))
        >>> total.result().counts.tolist(), total.result().lowest.tolist()
        ([1, 3], [2, 1, 3, 0])
    """

    def __init__(self, labels: int, width: int, most: int = LARGEST_SAMPLE) -> None:
        self._counts = np.zeros(labels, np.int64)
        self._plain, self._rooted = _no_sums(labels, width), _no_sums(labels, width)
        self._is_rooted, self._former = True, ""
        self._contents, self._ids, self._most = np.empty(0, "S1"), np.empty(0, np.int64), most

    def add(self, name: str, part: PartStatistics) -> None:
        """Add a part.

        Raises:
            ValueError: its name is not after that of the former one, or it has other labels or another width.
        """
        labels, width = self._plain.sums.shape
        if name <= self._former:
            raise ValueError(f"expected parts in the order of their names, got {name!r} after {self._former!r}")
        if part.plain.products.shape[0] != width or (len(part.label_ids) and part.label_ids[-1] >= labels):
            raise ValueError(f"expected {labels} labels and rows of {width} numbers in part {name!r}")
        self._add_lowest(part)
        self._former = name
        self._counts[part.label_ids] += part.counts
        _add(self._plain, part.plain, part.label_ids)
        self._is_rooted = self._is_rooted and part.rooted is not None
        if self._is_rooted and part.rooted is not None:
            _add(self._rooted, part.rooted, part.label_ids)

    def result(self) -> RowStatistics:
        """Return the statistics of all rows so far; the id of a row is its place among them."""
        return RowStatistics(self._counts, self._plain, self._rooted if self._is_rooted else None, self._ids)

    def _add_lowest(self, part: PartStatistics) -> None:
        contents, ids = part.contents, part.places + int(self._counts.sum())
        if len(self._ids) == self._most and self._most:
            is_lower = contents < self._contents[-1]  # of an equal content the former row counts
            contents, ids = contents[is_lower], ids[is_lower]
        contents, ids = np.concatenate([self._contents, contents]), np.concatenate([self._ids, ids])
        order = np.lexsort((ids, contents))[: self._most]
        self._contents, self._ids = contents[order], ids[order]


def add_up(parts: Iterable[tuple[str, PartStatistics]], labels: int, width: int) -> RowStatistics:
    """Return the statistics of all rows from those of parts, as `StatisticsSum` adds them."""
    total = StatisticsSum(labels, width)
    for name, part in parts:
        total.add(name, part)
    return total.result()


@single_threaded_blas
def scatter_by_sums(statistics: RowStatistics, power_normalize: bool | None = None) -> WithinClassScatter:
    """Return the pooled scatter within labels, as `fit_scatter` measures it in two passes over the rows.

    Args:
        statistics: of the rows.
        power_normalize: whether rows are signed square roots; None: where no number is negative.

    Raises:
        ValueError: the roots are asked for, and they were not added up, since some number is negative.
    """
    if power_normalize is None:
        power_normalize = statistics.rooted is not None
    sums = statistics.rooted if power_normalize else statistics.plain
    if sums is None:
        raise ValueError("expected rows without negative numbers, since the sums of their roots are asked for")
    counts = statistics.counts
    count = int(counts.sum())
    freedom = max(count - int((counts > 0).sum()), 1)
    means = sums.sums / np.maximum(counts, 1)[:, None]
    center = (sums.sums.sum(axis=0) / max(count, 1)).astype(np.float32)
    weighted = means * np.sqrt(counts)[:, None]
    squares, axes = np.linalg.eigh(sums.products - weighted.T @ weighted)
    squares[squares < _ROUNDING * np.trace(sums.products)] = 0
    return WithinClassScatter(power_normalize, center, axes, squares / freedom, freedom, means)


def _as_bytes(contents: Sequence[str]) -> NDArray[np.bytes_]:
    return np.array([content.encode("utf-8", "surrogatepass") for content in contents], np.bytes_)


def _no_sums(labels: int, width: int) -> RowSums:
    return RowSums(np.zeros((labels, width)), np.zeros((width, width)))


def _add(total: RowSums, part: RowSums, label_ids: IntArray) -> None:
    total.sums[label_ids] += part.sums
    np.add(total.products, part.products, out=total.products)


def _sums(rows: Float32Array, labels: IntArray, count: int, power_normalize: bool) -> RowSums:
    total = _no_sums(count, rows.shape[1])
    for start in range(0, len(rows), _BLOCK):
        block = apply_power_normalization(rows[start : start + _BLOCK], power_normalize).astype(np.float64)
        total.products[:] += block.T @ block
        _add_by_label(total.sums, labels[start : start + _BLOCK], block)
    return total


def _add_by_label(sums: Float64Array, labels: IntArray, block: Float64Array) -> None:
    """Add rows to the sums of their labels; rows that are sorted by label, as in a store, are not copied."""
    if (np.diff(labels) < 0).any():
        order = np.argsort(labels, kind="stable")
        labels, block = labels[order], block[order]
    found, starts = np.unique(labels, return_index=True)
    sums[found] += np.add.reduceat(block, starts, axis=0)
