"""Linear algebra with the same bits for any batch and any number of threads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, wraps
from threading import Lock, local
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import Float32Array, Float64Array
from lmm_classifier.core.forking import register_for_reset

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_MANTISSA = 53  # bits of a float64
_SMALL = 1 << 30  # multiplications: about 30 ms on one core


@cache
def _libraries() -> tuple[Any, Any]:
    """Return the BLAS libraries with one number of threads for the process, and those with one for each thread.

    The second are those built with OpenMP.
    """
    from threadpoolctl import ThreadpoolController

    libraries = ThreadpoolController()  # it scans all loaded libraries, so once is enough
    of_each_thread = libraries.select(threading_layer="openmp")
    if not of_each_thread.lib_controllers:
        return libraries.select(user_api="blas"), of_each_thread
    layers = {getattr(library, "threading_layer", "openmp") for library in libraries.lib_controllers}
    return libraries.select(threading_layer=sorted(layers - {"openmp"})), of_each_thread


def _take_control(libraries: Any) -> None:
    """Let this thread set the numbers; newer versions of threadpoolctl leave that to the first thread that did."""
    for library in libraries.lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


class _OneThread:
    """BLAS computes on one thread while any thread of this process is in the `with` block; several may be."""

    def __init__(self) -> None:
        self._inside = 0
        self._limit: Any = None  # knows the number of threads before
        self._of_this_thread = local()
        self._lock = Lock()
        register_for_reset(self)

    def __enter__(self) -> None:
        of_process, of_each_thread = _libraries()
        with self._lock:
            self._inside += 1
            if self._limit is None:
                _take_control(of_process)
                self._limit = of_process.limit(limits=1)
        if of_each_thread.lib_controllers:
            vars(self._of_this_thread).setdefault("limits", []).append(of_each_thread.limit(limits=1))

    def __exit__(self, *_: object) -> None:
        if limits := vars(self._of_this_thread).get("limits"):
            limits.pop().restore_original_limits()
        with self._lock:
            self._inside = max(self._inside - 1, 0)  # a fork inside the `with` block began to count anew
            if self._inside == 0 and self._limit is not None:
                _take_control(_libraries()[0])
                self._limit.restore_original_limits()
                self._limit = None
                _take_control(_libraries()[0])

    def reset_after_fork(self) -> None:
        """Count anew, since the other threads are gone; the number of threads before is still known."""
        self._inside, self._lock = 0, Lock()


_ONE_THREAD = _OneThread()


def single_threaded_blas(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Run a function with one BLAS thread, so that it computes the same bits for any configured number of threads."""

    @wraps(function)
    def limited(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
        with _ONE_THREAD:
            return function(*arguments, **named)

    return limited


def threads_for(multiplications: int) -> AbstractContextManager[None]:
    """Return a context in which BLAS computes on one thread, if the products there are small.

    Its other threads would cost more than they help: they wait for their share by keeping a core busy.
    """
    return _ONE_THREAD if multiplications < _SMALL else nullcontext()


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
