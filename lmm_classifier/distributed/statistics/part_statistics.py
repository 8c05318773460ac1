"""Statistics of labeled rows by parts: counts, sums and products that add up, in one pass.

Sums of floating point numbers depend on their order. So parts are reduced in the order of their names, whichever came
first, and the result has the same bits each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import Arrays, Float32Array, Float64Array, IntArray
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.linalg import single_threaded_blas
from lmm_classifier.neighbors.metric import WithinClassScatter, apply_power_normalization
from lmm_classifier.neighbors.row_sums import RowSums, scatter_of_sums

_BLOCK = 4096  # rows taken at a time


@dataclass(frozen=True)
class PartStatistics:
    """What one part of the rows adds to the statistics of all.

    Example:
        >>> import numpy as np
        >>> from lmm_classifier.distributed.statistics.part_statistics import PartStatistics
        >>> rows = np.eye(3, 4, dtype=np.float32)
        >>> part = PartStatistics.of(rows, np.array([5, 5, 9]), ["a1", "b2", "c3"])
        >>> part.label_ids.tolist(), part.counts.tolist(), part.is_nonnegative
        ([5, 9], [2, 1], True)
    """

    label_ids: IntArray  # (l,) ascending
    counts: IntArray  # (l,)
    plain: RowSums
    rooted: RowSums | None  # None where a number is negative: then the roots are not needed
    digest: int  # sum of the digests of the contents modulo 2^64, whatever their order

    @property
    def is_nonnegative(self) -> bool:
        """Return whether no number of the rows is negative."""
        return self.rooted is not None

    @classmethod
    @single_threaded_blas
    def of(cls, rows: Float32Array, label_ids: IntArray, contents: Sequence[str] = ()) -> PartStatistics:
        """Return the statistics of normalized rows (n, d) with label numbers (n,) and SHA-256 (n,) of their images.

        Raises:
            ValueError: there are more or fewer labels or contents than rows.
        """
        if len(rows) != len(label_ids) or (contents and len(contents) != len(rows)):
            found = f"{len(label_ids)} labels and {len(contents)} contents"
            raise ValueError(f"expected a label and a content for each of {len(rows)} rows, got {found}")
        known, places = np.unique(np.asarray(label_ids, np.int64), return_inverse=True)
        counts = np.bincount(places, minlength=len(known)).astype(np.int64)
        rooted = _sums(rows, places, len(known), True) if bool((rows >= 0).all()) else None
        return cls(known, counts, _sums(rows, places, len(known), False), rooted, _digest(contents))

    def to_arrays(self) -> Arrays:
        """Return the arrays from which `from_arrays` rebuilds this part."""
        arrays = {
            "label_ids": self.label_ids,
            "counts": self.counts,
            "digest": np.array([self.digest], np.uint64),
            "sums": self.plain.sums,
            "products": self.plain.products,
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
            part = cls(ids, counts, plain, rooted, int(arrays["digest"][0]))
        except (KeyError, IndexError) as error:
            raise IndexFileError(f"The statistics of a part are damaged: {error}. Make them again.") from None
        width = plain.products.shape[-1] if plain.products.ndim == 2 else -1
        for sums in filter(None, (plain, rooted)):
            if sums.sums.shape != (len(ids), width) or sums.products.shape != (width, width) or len(counts) != len(ids):
                raise IndexFileError("The statistics of a part are damaged: their shapes do not fit. Make them again.")
        return part


@dataclass(frozen=True)
class DatasetStatistics:
    """The statistics of all rows. C labels, d numbers in a row."""

    counts: IntArray  # (C,)
    plain: RowSums  # sums of all C labels
    rooted: RowSums | None
    digest: int

    @property
    def means(self) -> Float64Array:
        """The mean row of each label, (C, d); zero for a label without rows."""
        return self.plain.sums / np.maximum(self.counts, 1)[:, None]

    def scatter(self, power_normalize: bool | None = None) -> WithinClassScatter:
        """Return the pooled scatter within labels, as `fit_scatter` measures it in two passes.

        Args:
            power_normalize: whether rows are signed square roots; None: where no number is negative.

        Raises:
            ValueError: the roots are asked for, and some number is negative.
        """
        if power_normalize is None:
            power_normalize = self.rooted is not None
        sums = self.rooted if power_normalize else self.plain
        if sums is None:
            raise ValueError("expected rows without negative numbers, since the sums of their roots are asked for")
        return scatter_of_sums(self.counts, sums, power_normalize)


def reduce_parts(parts: Iterable[tuple[str, PartStatistics]], labels: int, width: int) -> DatasetStatistics:
    """Add up parts in the order of their names, which must be ascending; one part is in memory at a time.

    Args:
        parts: each with its name.
        labels: C.
        width: d.

    Raises:
        ValueError: names are not ascending, or a part has other labels or widths.
    """
    counts = np.zeros(labels, np.int64)
    plain, rooted = _no_sums(labels, width), _no_sums(labels, width)
    is_rooted, digest, former = True, 0, None
    for name, part in parts:
        if former is not None and name <= former:
            raise ValueError(f"expected parts in the order of their names, got {name!r} after {former!r}")
        if part.plain.products.shape[0] != width or (len(part.label_ids) and part.label_ids[-1] >= labels):
            raise ValueError(f"expected {labels} labels and rows of {width} numbers in part {name!r}")
        former = name
        counts[part.label_ids] += part.counts
        digest = (digest + part.digest) % 2**64
        _add(plain, part.plain, part.label_ids)
        is_rooted = is_rooted and part.rooted is not None
        if is_rooted and part.rooted is not None:
            _add(rooted, part.rooted, part.label_ids)
    return DatasetStatistics(counts, plain, rooted if is_rooted else None, digest)


def _no_sums(labels: int, width: int) -> RowSums:
    return RowSums(np.zeros((labels, width)), np.zeros((width, width)))


def _add(total: RowSums, part: RowSums, label_ids: IntArray) -> None:
    total.sums[label_ids] += part.sums
    np.add(total.products, part.products, out=total.products)


def _sums(rows: Float32Array, places: IntArray, labels: int, power_normalize: bool) -> RowSums:
    total = _no_sums(labels, rows.shape[1])
    for start in range(0, len(rows), _BLOCK):
        block = apply_power_normalization(rows[start : start + _BLOCK], power_normalize).astype(np.float64)
        np.add.at(total.sums, places[start : start + _BLOCK], block)
        total.products[:] += block.T @ block
    return total


def _digest(contents: Sequence[str]) -> int:
    digests = (hashlib.blake2b(content.encode(), digest_size=8).digest() for content in contents)
    return sum(int.from_bytes(digest) for digest in digests) % 2**64
