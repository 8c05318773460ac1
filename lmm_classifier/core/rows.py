"""Rows of a store of labeled vectors, in the form in which they are read: some rows, and the columns asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lmm_classifier.core.arrays import Arrays, Float32Array, Float64Array, IntArray

ColumnName = Literal["vectors", "contents", "paths", "all_paths", "norms"]


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
    paths: Sequence[str] | None = None  # m ids of the images; of copies, the first
    norms: Float64Array | None = None  # (m,) of the rows in the metric of the store
    all_paths: Sequence[Sequence[str]] | None = None  # m times the ids of all images with this content and label

    def __post_init__(self) -> None:
        columns = (self.label_ids, self.vectors, self.contents, self.paths, self.norms, self.all_paths)
        lengths = {len(self.ids)} | {len(column) for column in columns if column is not None}
        if len(lengths) > 1:
            raise ValueError(f"expected columns of one length, got {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class RowProducts:
    """Sums over all rows of a store, made when it was written. C labels, d numbers in a row."""

    products: Float64Array  # (d, d), the sum of x x'
    rooted_sums: Float64Array | None = None  # (C, d) of the square roots; None where a number is negative
    rooted_products: Float64Array | None = None  # (d, d) of the square roots

    def to_arrays(self) -> dict[str, Float64Array]:
        """Return the arrays from which `from_arrays` rebuilds it."""
        every = {
            "products": self.products,
            "rooted_sums": self.rooted_sums,
            "rooted_products": self.rooted_products,
        }
        return {name: array for name, array in every.items() if array is not None}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> RowProducts:
        """Undo `to_arrays`; raise KeyError or ValueError where the arrays are damaged."""
        products = np.asarray(arrays["products"], np.float64)
        rooted = [np.asarray(arrays[name], np.float64) for name in ("rooted_sums", "rooted_products") if name in arrays]
        width = len(products)
        if any(array.ndim != 2 or array.shape[1] != width for array in (products, *rooted)) or len(rooted) == 1:
            raise ValueError("sums of other shapes")
        return cls(products, *rooted)


def empty_rows(width: int) -> RowBlock:
    """Return no rows, with all columns; `width` numbers are in a vector."""
    none = np.empty(0, np.int64)
    return RowBlock(none, none, np.empty((0, width), np.float32), (), (), np.empty(0), ())


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
