"""Names of the array types that signatures use, and groups of named arrays under a prefix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Arrays = Mapping[str, NDArray[Any]]  # `to_arrays` returns them, `from_arrays` takes them; no pickled objects


def as_slice(numbers: IntArray) -> slice | IntArray:
    """Return row numbers (n,) as a slice where they are consecutive, which is several times faster as an index."""
    if len(numbers) and numbers[-1] - numbers[0] == len(numbers) - 1 and (np.diff(numbers) == 1).all():
        return slice(int(numbers[0]), int(numbers[-1]) + 1)
    return numbers


def nest(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Put named arrays under `prefix`: `rate` becomes `gate.rate`."""
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def unnest(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Return the arrays under `prefix`, named without it: `gate.rate` becomes `rate`."""
    start = f"{prefix}."
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}


def are_equal(first: Arrays, second: Arrays) -> bool:
    """Return whether two groups have the same names, types, shapes and bits."""

    def bits(array: NDArray[Any]) -> tuple[str, tuple[int, ...], bytes]:
        return array.dtype.str, array.shape, array.tobytes()

    return {name: bits(array) for name, array in first.items()} == {name: bits(array) for name, array in second.items()}
