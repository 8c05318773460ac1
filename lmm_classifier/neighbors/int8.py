"""Fast and exact products of 8-bit integers by ONNX Runtime; they find candidates for the nearest rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import Float32Array, Float64Array
from lmm_classifier.core.optional_imports import import_optional

_LARGEST = 127  # of a number, either sign
_ROUNDING = 1e-6  # of the float32 in which integers are scaled back; ten times the error seen
_PART = 512  # rows rounded at a time
EXTRA = "search"

# `int8_matmul.onnx` has these numbers where the size of the rows belongs. Each takes five bytes in the file.
WIDTH_PLACEHOLDER, COUNT_PLACEHOLDER = (1 << 28) + 1, (1 << 28) + 2


@dataclass(frozen=True)
class Rounded:
    """Rows as integers times a scale per row, and the size of the rounding error. n rows, d numbers each."""

    integers: NDArray[np.int8]  # (n, d)
    scales: Float32Array  # (n,)
    norms: Float64Array  # (n,) of the rounded rows
    residuals: Float64Array  # (n,) norms of the rounding errors

    @classmethod
    def of(cls, rows: Float32Array) -> Rounded:
        """Round rows (n, d).

        Raises:
            ValueError: a number is not finite.
        """
        scales = np.abs(rows).max(axis=1, initial=0) / np.float32(_LARGEST)
        if not np.isfinite(scales).all():
            raise ValueError("a row holds numbers that are not finite")
        scales[scales < np.finfo(np.float32).tiny] = 1
        integers = np.rint(rows / scales[:, None])
        rounded = integers * scales[:, None]
        return cls(integers.astype(np.int8), scales, _norms(rounded), _norms(rows - rounded))


@dataclass(frozen=True)
class Int8Queries:
    """Rounded queries, and the numbers that bound their errors. n queries, d numbers each."""

    integers: NDArray[np.uint8]  # (n, d), with 128 added: the products need one side without a sign
    scales: Float32Array  # (n, 1)
    residuals: Float64Array  # (n,)
    norms: Float64Array  # (n,) before rounding

    @classmethod
    def of(cls, queries: Float32Array) -> Int8Queries:
        """Round queries (n, d)."""
        rounded = Rounded.of(queries)
        integers = (rounded.integers.astype(np.int16) + 128).astype(np.uint8)
        return cls(integers, rounded.scales[:, None], rounded.residuals, _norms(queries))


class Int8Block:
    """A block of rows (b, d), stored as 8-bit integers in the order in which the processor multiplies them."""

    def __init__(self, rows: Float32Array) -> None:
        self.count: int = len(rows)
        self._scales = np.empty(len(rows), np.float32)
        self._largest_norm = self._largest_residual = 0.0
        columns = np.empty(rows.shape[::-1], np.int8)
        for start in range(0, len(rows), _PART):  # by parts, so that rounding needs little more memory
            part = slice(start, start + _PART)
            rounded = Rounded.of(rows[part])
            columns[:, part] = rounded.integers.T
            self._scales[part] = rounded.scales
            self._largest_norm = max(self._largest_norm, float(rounded.norms.max()))
            self._largest_residual = max(self._largest_residual, float(rounded.residuals.max()))
        self._session = _session(columns)

    def errors(self, queries: Int8Queries) -> Float32Array:
        """Return for each query (n,) the largest possible error of its scores.

        |q.x - q'.x'| <= |q - q'| |x'| + |q| |x - x'| for rounded q', x' (Cauchy & Schwarz).
        """
        errors = queries.residuals * self._largest_norm + queries.norms * self._largest_residual
        return np.asarray(errors * (1 + _ROUNDING) + _ROUNDING * queries.norms * self._largest_norm, np.float32)

    def scores(self, queries: Int8Queries) -> Float32Array:
        """Return the approximate products (n, b) with n queries."""
        (products,) = self._session.run(None, {"queries": queries.integers})  # (n, b) int32, exact
        scores: Float32Array = np.multiply(products, self._scales, dtype=np.float32, casting="unsafe")
        scores *= queries.scales
        return scores


@cache
def is_available() -> bool:
    """Return whether ONNX Runtime is installed and multiplies exactly on this processor.

    x86 processors without VNNI add pairs of products in 16 bits, which overflow. Then no bound would hold.
    """
    if find_spec("onnxruntime") is None:
        return False
    width = 256
    session = _session(np.full((width, 64), _LARGEST, np.int8))
    for count in (1, 16):  # one query and several queries are multiplied in different ways
        (products,) = session.run(None, {"queries": np.full((count, width), 255, np.uint8)})
        if not (products == width * _LARGEST * (255 - 128)).all():
            return False
    return True


def _norms(rows: Float32Array) -> Float64Array:
    return np.asarray(np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1)))


def _session(columns: NDArray[np.int8]) -> Any:
    """Open a session that multiplies queries (n, d) by `columns` (d, b).

    It uses one thread, because blocks are spread over threads.
    """
    runtime = import_optional("onnxruntime", EXTRA)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # each block would keep one
    options.log_severity_level = 3
    options.add_external_initializers(["rows"], [runtime.OrtValue.ortvalue_from_numpy(columns)])
    return runtime.InferenceSession(model_for(*columns.shape), options, providers=["CPUExecutionProvider"])


def model_for(width: int, count: int) -> bytes:
    """Return the ONNX model for `count` rows of `width` numbers; `scripts/make_int8_model.py` made the file.

    The sizes of a constant cannot be symbolic, and with `rows` as an input one query takes 11 times as long.
    """
    model = _model_file().replace(_five_bytes(WIDTH_PLACEHOLDER), _five_bytes(width))
    return model.replace(_five_bytes(COUNT_PLACEHOLDER), _five_bytes(count))


@cache
def _model_file() -> bytes:
    return (files("lmm_classifier.neighbors") / "int8_matmul.onnx").read_bytes()


def _five_bytes(number: int) -> bytes:
    """Return a number below 2^35 as a protocol buffer stores it, 7 bits a byte, in the same length for all numbers."""
    return bytes([*(number >> shift & 0x7F | 0x80 for shift in (0, 7, 14, 21)), number >> 28])
