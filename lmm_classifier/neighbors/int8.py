"""Products of 8-bit integers, exact and quick, by ONNX Runtime: what candidates for the nearest rows are found with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.optional_imports import load_module
from lmm_classifier.core.protocols import FloatArray

Doubles = NDArray[np.float64]

_LARGEST = 127  # of a number, either sign
_ROUNDING = 1e-6  # of the float32 in which integers are scaled back; ten times what it errs
_PART = 512  # rows rounded at a time
EXTRA = "search"


@dataclass(frozen=True)
class Rounded:
    """Rows (n, d) as integers (n, d) times a scale per row, and what that leaves away."""

    integers: NDArray[np.int8]
    scales: FloatArray  # (n,)
    lengths: Doubles  # (n,) of the rounded rows
    residuals: Doubles  # (n,) lengths of what was left away

    @classmethod
    def of(cls, rows: FloatArray) -> Rounded:
        """Round rows (n, d); raises ValueError where a number is not finite."""
        scales = np.abs(rows).max(axis=1, initial=0) / np.float32(_LARGEST)
        if not np.isfinite(scales).all():
            raise ValueError("a row holds numbers that are not finite")
        scales[scales < np.finfo(np.float32).tiny] = 1
        integers = np.rint(rows / scales[:, None])
        rounded = integers * scales[:, None]
        lengths, residuals = (_lengths(one) for one in (rounded, rows - rounded))
        return cls(integers.astype(np.int8), scales, lengths, residuals)


@dataclass(frozen=True)
class Int8Queries:
    """Rounded queries (n, d), and how far the product with a block of rows may be off for each."""

    integers: NDArray[np.uint8]  # (n, d), 128 more than they are: the products want one side without a sign
    scales: FloatArray  # (n, 1)
    residuals: Doubles  # (n,)
    lengths: Doubles  # (n,) before rounding

    @classmethod
    def of(cls, queries: FloatArray) -> Int8Queries:
        """Round queries (n, d)."""
        rounded = Rounded.of(queries)
        integers = (rounded.integers.astype(np.int16) + 128).astype(np.uint8)
        return cls(integers, rounded.scales[:, None], rounded.residuals, _lengths(queries))


class Int8Block:
    """A block of rows (b, d), kept as 8-bit integers in the order that the processor multiplies them in."""

    def __init__(self, rows: FloatArray) -> None:
        self.count = len(rows)
        self._scales = np.empty(len(rows), np.float32)
        self._longest = self._residual = 0.0
        columns = np.empty(rows.shape[::-1], np.int8)
        for start in range(0, len(rows), _PART):  # so that rounding takes little memory beside
            part = slice(start, start + _PART)
            rounded = Rounded.of(rows[part])
            columns[:, part] = rounded.integers.T
            self._scales[part] = rounded.scales
            self._longest = max(self._longest, float(rounded.lengths.max()))
            self._residual = max(self._residual, float(rounded.residuals.max()))
        self._session = _session(columns)

    def errors(self, queries: Int8Queries) -> FloatArray:
        """How far a score of each query (n,) may be from the true product.

        |q.x - q'.x'| <= |q - q'| |x'| + |q| |x - x'| for rounded q', x' (Cauchy & Schwarz).
        """
        errors = queries.residuals * self._longest + queries.lengths * self._residual
        return np.asarray(errors * (1 + _ROUNDING) + _ROUNDING * queries.lengths * self._longest, np.float32)

    def scores(self, queries: Int8Queries) -> FloatArray:
        """The products (n, b) with queries, nearly."""
        (products,) = self._session.run(None, {"queries": queries.integers})  # (n, b) int32, exact
        scores: FloatArray = np.multiply(products, self._scales, dtype=np.float32, casting="unsafe")
        scores *= queries.scales
        return scores


@cache
def is_available() -> bool:
    """Whether ONNX Runtime is installed and multiplies exactly here.

    On x86 processors without VNNI it adds pairs of products in 16 bits, which overflow; then nothing could be proven.
    """
    if find_spec("onnxruntime") is None:
        return False
    width = 256
    session = _session(np.full((width, 64), _LARGEST, np.int8))
    for count in (1, 16):  # one query and several are multiplied in different ways
        (products,) = session.run(None, {"queries": np.full((count, width), 255, np.uint8)})
        if not (products == width * _LARGEST * (255 - 128)).all():
            return False
    return True


def _lengths(rows: FloatArray) -> Doubles:
    return np.asarray(np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1)))


def _session(columns: NDArray[np.int8]) -> Any:
    """What multiplies queries (n, d) with `columns` (d, b); on one thread, for blocks are spread over threads."""
    runtime = load_module("onnxruntime", EXTRA)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # each block would keep one
    options.log_severity_level = 3
    options.add_external_initializers(["rows"], [runtime.OrtValue.ortvalue_from_numpy(columns)])
    return runtime.InferenceSession(_graph(*columns.shape), options, providers=["CPUExecutionProvider"])


_UINT8, _INT8, _INT32 = 2, 3, 6  # number types in ONNX


def _graph(width: int, count: int) -> bytes:
    """An ONNX model of one node, MatMulInteger(queries, rows, 128), written out as the protocol buffer that it is.

    The numbers are those of the fields in onnx.proto. `rows` are left to the session.
    """
    node = b"".join(_field(1, name) for name in (b"queries", b"rows", b"zero"))
    node += _field(2, b"products") + _field(4, b"MatMulInteger")
    location = _field(1, b"location") + _field(2, b"given")
    rows = _number(1, width) + _number(1, count) + _number(2, _INT8) + _field(8, b"rows")
    rows += _field(13, location) + _number(14, 1)
    zero = _number(2, _UINT8) + _field(8, b"zero") + _field(9, bytes([128]))
    graph = _field(1, node) + _field(2, b"search") + _field(5, rows) + _field(5, zero)
    graph += _field(11, _value(b"queries", _UINT8, width)) + _field(12, _value(b"products", _INT32, count))
    return _number(1, 8) + _field(7, graph) + _field(8, _number(2, 13))


def _value(name: bytes, kind: int, width: int) -> bytes:
    shape = _field(1, _field(2, b"n")) + _field(1, _number(1, width))
    return _field(1, name) + _field(2, _field(1, _number(1, kind) + _field(2, shape)))


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
