"""A matrix product in float64 whose bits depend on the row and the matrix alone, not on batch or threads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

_MANTISSA = 53  # bits of a float64


class FineProduct:
    """Multiplies rows (n, d) by one matrix (d, m); many times finer than `spaces.ExactProduct`, by the same idea.

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
