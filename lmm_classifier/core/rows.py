"""Rows of a store of labeled vectors, in the form in which they are read: some rows, and the columns asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray

ColumnName = Literal["vectors", "contents", "paths", "norms"]


@dataclass(frozen=True)
class RowBlock:
    """m rows of a store, and of their columns those that were asked for; the others are None.

    d numbers are in a row.

    Raises:
        ValueError: the columns have different lengths.

    Example:
        >>> import numpy as np
        >>> from lmm_classifier.core.rows import RowBlock
        >>> len(RowBlock(ids=np.array([7, 9]), label_ids=np.array([0, 0]), paths=["a.jpg", "b.jpg"]))
        2
    """

    ids: IntArray  # (m,) names of the rows in one version of the store
    label_ids: IntArray  # (m,) positions in `label_names` of the store
    vectors: Float32Array | None = None  # (m, d) normalized, in the space of the search
    contents: Sequence[str] | None = None  # m SHA-256 of the images, hexadecimal
    paths: Sequence[str] | None = None  # m ids of the images
    norms: Float64Array | None = None  # (m,) of the rows in the metric of the store

    def __post_init__(self) -> None:
        columns = (self.label_ids, self.vectors, self.contents, self.paths, self.norms)
        lengths = {len(self.ids)} | {len(column) for column in columns if column is not None}
        if len(lengths) > 1:
            raise ValueError(f"expected columns of one length, got {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class RowSums:
    """Sums over rows in one form: as they are, or as signed square roots. l labels, d numbers in a row."""

    sums: Float64Array  # (l, d) of each label
    products: Float64Array  # (d, d), the sum of x x'


@dataclass(frozen=True)
class RowStatistics:
    """What a calibration needs of all rows of a store. C labels, d numbers in a row.

    Example:
        >>> import numpy as np
        >>> from lmm_classifier.core.rows import RowStatistics, RowSums
        >>> sums = RowSums(sums=np.array([[2.0, 0.0]]), products=np.eye(2))
        >>> RowStatistics(np.array([2]), sums, None, np.array([1, 0])).means
        array([[1., 0.]])
    """

    counts: IntArray  # (C,) rows of each label
    plain: RowSums
    rooted: RowSums | None  # of the square roots; None where a number is negative: then they are not needed
    lowest: IntArray  # (k,) ids of the rows with the lowest contents, the lowest first: a uniform sample

    @property
    def means(self) -> Float64Array:
        """The mean row of each label, (C, d); zero for a label without rows."""
        return np.asarray(self.plain.sums / np.maximum(self.counts, 1)[:, None])


def empty_rows(width: int) -> RowBlock:
    """Return no rows, with all columns; `width` numbers are in a vector."""
    none = np.empty(0, np.int64)
    return RowBlock(none, none, np.empty((0, width), np.float32), (), (), np.empty(0))


def join_rows(blocks: Sequence[RowBlock]) -> RowBlock:
    """Join blocks of rows that have vectors, and norms or not."""
    blocks = [block for block in blocks if len(block)] or list(blocks[:1])
    if len(blocks) == 1:
        return blocks[0]
    norms = [block.norms for block in blocks if block.norms is not None]
    return RowBlock(
        np.concatenate([block.ids for block in blocks]),
        np.concatenate([block.label_ids for block in blocks]),
        np.concatenate([np.asarray(block.vectors, np.float32) for block in blocks]),
        norms=np.concatenate(norms) if len(norms) == len(blocks) else None,
    )
