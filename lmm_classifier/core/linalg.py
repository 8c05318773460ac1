"""Linear algebra whose bits do not depend on batch or threads: reproducible products, and one BLAS thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from threading import RLock
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.protocols import FloatArray

Doubles = NDArray[np.float64]
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# The limit is one of the whole process, and only the thread that set it can lift it: so one at a time is inside.
_LOCK = RLock()

_MANTISSA = 53  # bits of a float64


@cache
def _libraries() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()  # looks through all loaded libraries, so once is enough


def on_one_thread(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a function compute the same bits whatever number of threads the matrix library may use."""

    @wraps(function)
    def limited(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
        with _LOCK, _libraries().limit(limits=1, user_api="blas"):
            return function(*arguments, **named)

    return limited


class FineProduct:
    """Multiplies rows (n, d) by one matrix (d, m); many times finer than `ExactProduct`, by the same idea.

    Both sides are cut into two integers of about 20 bits each (times a power of two per row and per column), so short
    that a matrix library's sums are exact in any order (Ozaki, Ogita, Oishi & Rump, "Error-free transformations of
    matrix multiplication", Numerical Algorithms 59, 2012). The product of the two low parts, 2^-40 of the largest
    number, is left away.
    """

    def __init__(self, matrix: NDArray[np.floating]) -> None:
        self._bits = (_MANTISSA - max(len(matrix) - 1, 1).bit_length()) // 2
        self._high, self._low, self._exponents = self._cut(matrix, axis=0)  # (d, m), (d, m), (1, m)

    def __call__(self, rows: NDArray[np.floating]) -> Doubles:
        """Return the product (n, m)."""
        high, low, exponents = self._cut(rows, axis=1)
        fine = np.ldexp(high @ self._low + low @ self._high, -self._bits)
        return np.asarray(np.ldexp(high @ self._high + fine, exponents + self._exponents))

    def _cut(self, values: NDArray[np.floating], axis: int) -> tuple[Doubles, Doubles, NDArray[np.int32]]:
        largest = np.abs(values).max(axis=axis, keepdims=True, initial=0)
        exponents = (np.frexp(largest)[1] - self._bits).astype(np.int32)
        scaled = np.ldexp(values.astype(np.float64), -exponents)
        high = np.rint(scaled)
        return high, np.rint(np.ldexp(scaled - high, self._bits)), exponents


class ExactProduct:
    """Multiplies rows (n, d) by one matrix (d, m) to bits that depend on the row and the matrix alone.

    A matrix library sums in an order that it picks by the shape of its input, the processor and its threads. Here that
    order cannot matter: both sides are rounded to integers (times a power of two per row and per column) so short that
    every partial sum is an integer which float64 holds exactly (20 bits a number for d = 2,483). The idea is the
    pre-rounding of Demmel & Nguyen, "Parallel Reproducible Summation", IEEE Transactions on Computers 64(7), 2015.
    """

    def __init__(self, matrix: FloatArray) -> None:
        self._bits = (_MANTISSA - max(len(matrix) - 1, 1).bit_length()) // 2
        self._integers, self._exponents = self._rounded(matrix, axis=0)  # (d, m), (1, m)

    def __call__(self, rows: FloatArray) -> FloatArray:
        """Return the product (n, m) in float32; a row that is not finite becomes NaN."""
        integers, exponents = self._rounded(rows, axis=1)  # (n, d), (n, 1)
        with np.errstate(invalid="ignore"):
            product = integers @ self._integers
        return np.asarray(np.ldexp(product, exponents + self._exponents), np.float32)

    def _rounded(self, values: FloatArray, axis: int) -> tuple[Doubles, NDArray[np.int32]]:
        """Integers of at most `bits` bits and the exponents of two that scale them back."""
        largest = np.abs(values).max(axis=axis, keepdims=True, initial=0)
        exponents = (np.frexp(largest)[1] - self._bits).astype(np.int32)
        with np.errstate(invalid="ignore"):
            return np.rint(np.ldexp(values.astype(np.float64), -exponents)), exponents
