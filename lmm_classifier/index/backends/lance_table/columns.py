"""Columns of arrow as arrays of numpy, without copies where arrow has them in one piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.backends.lance_table.datasets import arrow
from lmm_classifier.index.backends.lance_table.layout import SHA256


def contents_of(column: Any) -> NDArray[np.uint8]:
    """Return a column of SHA-256 as bytes (n, 32)."""
    array = _whole(column)
    data = np.frombuffer(array.buffers()[1], np.uint8) if len(array) else np.empty(0, np.uint8)
    return data.reshape(-1, SHA256)[array.offset : array.offset + len(array)]


def hexadecimal(column: Any) -> list[str]:
    """Return a column of SHA-256 as text."""
    text = np.ascontiguousarray(contents_of(column)).tobytes().hex()
    return [text[start : start + 2 * SHA256] for start in range(0, len(text), 2 * SHA256)]


def vectors_of(column: Any, dim: int) -> Float32Array:
    """Return a column of vectors without nulls as an array (n, dim)."""
    rows: Float32Array = _whole(column).flatten().to_numpy().reshape(-1, dim)
    return rows


def contents_column(contents: Sequence[str], source: str) -> Any:
    """Return SHA-256 in hexadecimal as a column; raise IndexFileError for other text."""
    try:
        data = [bytes.fromhex(content) for content in contents]
    except ValueError:
        data = [b""]
    if any(len(digest) != SHA256 for digest in data) or any(content != content.lower() for content in contents):
        raise IndexFileError(
            f"{source} has content hashes that are no SHA-256 in lower-case hexadecimal, which a table needs."
        )
    return arrow().array(data, arrow().binary(SHA256))


def vectors_column(rows: Float32Array) -> Any:
    """Return vectors (n, dim) as a column."""
    values = arrow().array(np.ascontiguousarray(rows, np.float32).reshape(-1))
    return arrow().FixedSizeListArray.from_arrays(values, rows.shape[1])


def _whole(column: Any) -> Any:
    return column.combine_chunks() if hasattr(column, "combine_chunks") else column
