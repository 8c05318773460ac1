"""Linear algebra with the same bits for any batch and any number of threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from threading import RLock
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import Float32Array, Float64Array
from lmm_classifier.core.forking import ForkSafeLock

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# The limit holds for the whole process, and only the thread that set it can lift it. So one thread at a time is inside.
_LOCK = ForkSafeLock(RLock)

_MANTISSA = 53  # bits of a float64


@cache
def _libraries() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()  # it scans all loaded libraries, so once is enough


def single_threaded_blas(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Run a function with one BLAS thread, so that it computes the same bits for any configured number of threads."""

    @wraps(function)
    def limited(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
        with _LOCK, _libraries().limit(limits=1, user_api="blas"):
            return function(*arguments, **named)

    return limited


class ReproducibleMatmul64:
    """Product of rows (n, d) with one matrix (d, m); much more precise than `ReproducibleMatmul`, by the same idea.

    Both sides are split into two integers of about 20 bits each, times a power of two per row and per column. The
    integers are so short that the sums of a matrix library are exact in any order (Ozaki, Ogita, Oishi & Rump,
    "Error-free transformations of matrix multiplication", Numerical Algorithms 59, 2012). The product of the two low
    parts, 2^-40 of the largest number, is left out.
    """

    def __init__(self, matrix: NDArray[np.floating]) -> None:
        self._bits = (_MANTISSA - max(len(matrix) - 1, 1).bit_length()) // 2
        self._high, self._low, self._exponents = self._split(matrix, axis=0)  # (d, m), (d, m), (1, m)

    def __call__(self, rows: NDArray[np.floating]) -> Float64Array:
        """Return the product (n, m)."""
        high, low, exponents = self._split(rows, axis=1)
        fine = np.ldexp(high @ self._low + low @ self._high, -self._bits)
        return np.asarray(np.ldexp(high @ self._high + fine, exponents + self._exponents))

    def _split(self, values: NDArray[np.floating], axis: int) -> tuple[Float64Array, Float64Array, NDArray[np.int32]]:
        largest = np.abs(values).max(axis=axis, keepdims=True, initial=0)
        exponents = (np.frexp(largest)[1] - self._bits).astype(np.int32)
        scaled = np.ldexp(values.astype(np.float64), -exponents)
        high = np.rint(scaled)
        return high, np.rint(np.ldexp(scaled - high, self._bits)), exponents


class ReproducibleMatmul:
    """Product of rows (n, d) with one matrix (d, m), whose bits depend on the row and the matrix alone.

    A matrix library chooses the order of its sums by the shape of the input, the processor and the threads. Here that
    order cannot matter. Both sides are rounded to integers, times a power of two per row and per column. The integers
    are so short that float64 holds every partial sum exactly (20 bits a number for d = 2,483). The idea is the
    pre-rounding of Demmel & Nguyen, "Parallel Reproducible Summation", IEEE Transactions on Computers 64(7), 2015.
    """

    def __init__(self, matrix: Float32Array) -> None:
        self._bits = (_MANTISSA - max(len(matrix) - 1, 1).bit_length()) // 2
        self._integers, self._exponents = self._rounded(matrix, axis=0)  # (d, m), (1, m)

    def __call__(self, rows: Float32Array) -> Float32Array:
        """Return the product (n, m) in float32; a row that is not finite gives NaN."""
        integers, exponents = self._rounded(rows, axis=1)  # (n, d), (n, 1)
        with np.errstate(invalid="ignore"):
            product = integers @ self._integers
        return np.asarray(np.ldexp(product, exponents + self._exponents), np.float32)

    def _rounded(self, values: Float32Array, axis: int) -> tuple[Float64Array, NDArray[np.int32]]:
        """Round to integers of at most `_bits` bits; return them and the exponents of two that scale them back."""
        largest = np.abs(values).max(axis=axis, keepdims=True, initial=0)
        exponents = (np.frexp(largest)[1] - self._bits).astype(np.int32)
        with np.errstate(invalid="ignore"):
            return np.rint(np.ldexp(values.astype(np.float64), -exponents)), exponents
