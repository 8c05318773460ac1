"""Vectors that a caller brings: checked, normalized, and identified by what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import Float32Array, Float64Array
from lmm_classifier.core.errors import VectorError
from lmm_classifier.core.text import first_line

_ROWS = 1024  # normalized at a time
_UNIT = 1e-6  # a norm this close to 1 is 1: the vector was normalized before, and keeps its bits


def normalized_vectors(vectors: Any, dim: int | None = None, first_row: int = 0) -> Float32Array:
    """Return vectors (n, dim) in float32 with norm 1. Rows that have norm 1 already keep their bits.

    Args:
        vectors: n rows of numbers: an array of floating-point numbers or integers, a tensor of torch, or lists.
        dim: the numbers in a row that are expected; None: any.
        first_row: the number of the first row, for messages.

    Raises:
        VectorError: they are no such rows, or a row has no direction: it is zero, or holds NaN or infinity.
    """
    rows = _as_rows(vectors, dim)
    normalized = np.empty(rows.shape, np.float32)
    for start in range(0, len(rows), _ROWS):
        part = slice(start, start + _ROWS)
        normalized[part] = _normalized(np.ascontiguousarray(rows[part], np.float64), first_row + start)
    return normalized


def vectors_of_each(vectors: Any, dims: Sequence[int]) -> list[Float32Array]:
    """Return normalized vectors (n, dim) of each encoder.

    Args:
        vectors: an array (n, dim) of the only encoder; of several, a list or tuple with an array of each.
        dims: the numbers in a vector of each encoder.

    Raises:
        VectorError: as `normalized_vectors`; or they are of another number of encoders, or of other numbers of images.
    """
    if len(dims) == 1:
        return [normalized_vectors(vectors, dims[0])]
    if not isinstance(vectors, list | tuple) or len(vectors) != len(dims):
        found = f"{len(vectors)} of them" if isinstance(vectors, list | tuple) else type(vectors).__name__
        raise VectorError(
            f"Expected a list of {len(dims)} arrays, the vectors of each encoder of the index, got {found}."
        )
    each = [normalized_vectors(of_encoder, dim) for of_encoder, dim in zip(vectors, dims)]
    if len({len(of_encoder) for of_encoder in each}) > 1:
        counts = ", ".join(str(len(of_encoder)) for of_encoder in each)
        raise VectorError(f"Expected as many vectors of each encoder, one for each image, got {counts}.")
    return each


def vector_hashes(vectors: Float32Array) -> Iterator[str]:
    """Yield for each normalized vector (n, dim) a SHA-256 in hexadecimal: that of its bytes, as files have it."""
    for row in np.ascontiguousarray(vectors, "<f4"):
        yield sha256(row.data).hexdigest()


def _as_rows(vectors: Any, dim: int | None) -> NDArray[Any]:
    if hasattr(vectors, "detach"):  # a tensor of torch, of any device and number type
        vectors = vectors.detach().float().cpu().numpy()
    if np.ma.isMaskedArray(vectors):
        raise VectorError("Expected vectors without a mask. Give masked numbers a value with `vectors.filled(...)`.")
    if isinstance(vectors, str | bytes):
        raise VectorError(f"Expected vectors, got the text {vectors!r}.")
    try:
        rows = np.asarray(vectors)
    except (ValueError, TypeError) as error:
        raise VectorError(f"Expected rows with the same number of values: {first_line(error)}") from None
    if rows.size == 0 and rows.ndim < 2:  # an empty list has no width
        rows = np.empty((0, dim or 0), np.float32)
    if rows.dtype.kind not in "fiu":
        advice = " Stack the rows first: numpy.stack(rows)." if rows.dtype.hasobject else ""
        raise VectorError(f"Expected vectors of floating-point numbers or integers, got {rows.dtype}.{advice}")
    if rows.ndim != 2 or (len(rows) and not rows.shape[1]) or (dim is not None and rows.shape[1] != dim):
        expected = "(n, dim)" if dim is None else f"(n, {dim})"
        raise VectorError(f"Expected vectors of the shape {expected}, got {rows.shape}.")
    return rows


def _normalized(rows: Float64Array, start: int) -> Float64Array:
    """Return the rows with norm 1; `start` is the number of the first one, for messages."""
    largest = np.abs(rows).max(axis=1, initial=0)  # NaN where there is one
    for row in np.flatnonzero(~(np.isfinite(largest) & (largest > 0)))[:1]:
        what = "is zero" if largest[row] == 0 else "holds NaN or infinity"
        raise VectorError(f"The vector in row {start + row} {what}, so it has no direction. Leave it out.")
    with np.errstate(over="ignore", under="ignore"):
        norms = np.sqrt(np.square(rows).sum(axis=1))
    is_unit = np.abs(norms - 1) <= _UNIT
    scaled = rows / np.where(is_unit, 1.0, largest)[:, None]  # squares of very large or small numbers have no bits
    scaled /= np.where(is_unit, 1.0, np.sqrt(np.square(scaled).sum(axis=1)))[:, None]
    return scaled
