"""Arrays in files, without pickle: the size that a header declares is checked before anything is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.text import first_line

_KINDS = "fiuUSb"  # floats, integers, text, bytes, booleans: never objects or records
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True, slots=True)
class Header:
    """Shape and number type of a stored array, and the position of its values."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int  # bytes

    @property
    def nbytes(self) -> int:
        """Return the number of bytes of the values, computed without overflow."""
        size = self.dtype.itemsize
        for length in self.shape:
            size *= length
        return size


def write_array(file: IO[bytes], blocks: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: DTypeLike) -> None:
    """Write one `.npy` array of `shape` from consecutive blocks of rows, so that it never is in memory as a whole."""
    kind = np.dtype(dtype)
    header = {"descr": npy.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    npy.write_array_header_2_0(file, header)
    rows = 0
    for block in blocks:
        file.write(np.ascontiguousarray(block, dtype=kind).tobytes())
        rows += len(block)
    if rows != shape[0]:
        raise ValueError(f"expected {shape[0]} rows, got {rows}")


def read_header(file: IO[bytes], size: int, source: str) -> Header:
    """Read the header of a `.npy` array of `size` bytes; raise IndexFileError if it does not describe these bytes."""
    try:
        version = npy.read_magic(file)
        if version not in _READERS:
            raise ValueError(f"array format {version} is not supported")
        shape, fortran_order, dtype = _READERS[version](file, max_header_size=10_000)
    except (ValueError, EOFError, OSError, SyntaxError, RecursionError, MemoryError, TypeError, Warning) as error:
        raise IndexFileError(f"{source}: not a readable array: {first_line(error)}") from None
    header = Header(shape, dtype, file.tell())
    if dtype.hasobject or dtype.kind not in _KINDS or dtype.names or fortran_order:
        raise IndexFileError(f"{source}: expected an array of plain numbers or text, got {dtype}.")
    if any(type(length) is not int or length < 0 for length in shape) or header.nbytes != size - header.offset:
        raise IndexFileError(
            f"{source}: its header declares {header.nbytes:,} bytes of values, but there are {size - header.offset:,}."
        )
    return header


def read_blocks(file: IO[bytes], header: Header, source: str, rows: int = 1024) -> Iterator[NDArray[Any]]:
    """Read the values after `header` in consecutive blocks of at most `rows` rows."""
    length = header.shape[0] if header.shape else 1
    per_row = header.nbytes // length if length else 0
    for start in range(0, length, rows):
        count = min(rows, length - start)
        data = file.read(count * per_row)
        if len(data) != count * per_row:
            raise IndexFileError(f"{source}: the file ends in the middle of its values.")
        yield np.frombuffer(data, header.dtype).reshape(count, *header.shape[1:])


def read_array(file: IO[bytes], header: Header, source: str) -> NDArray[Any]:
    """Read all values after `header` into memory."""
    data = file.read(header.nbytes)
    if len(data) != header.nbytes:
        raise IndexFileError(f"{source}: the file ends in the middle of its values.")
    return np.frombuffer(data, header.dtype).reshape(header.shape)


class VectorSpool:
    """Vectors of a running build, on disk, so that memory does not grow with their number."""

    def __init__(self, path: Path, dim: int) -> None:
        self._path = path
        self._file = path.open("w+b")
        self.dim = dim
        self.count: int = 0

    def append(self, vectors: Float32Array) -> None:
        """Add vectors (n, dim)."""
        self._file.write(np.ascontiguousarray(vectors, dtype=np.float32).tobytes())
        self.count += len(vectors)

    def in_order(self, places: Sequence[int], rows: int = 1024) -> Iterator[Float32Array]:
        """Yield the rows in the order of `places`, in blocks (<= rows, dim)."""
        self._file.flush()
        with self._path.open("rb", buffering=0) as file:  # a memory map would count as memory of this process
            for start in range(0, len(places), rows):
                part = places[start : start + rows]
                block = np.empty((len(part), self.dim), np.float32)
                for row, place in zip(block, part, strict=True):
                    file.seek(place * row.nbytes)
                    file.readinto(row.data)
                yield block

    def blocks(self, rows: int = 1024) -> Iterator[Float32Array]:
        """Yield all rows from the first on, in blocks (<= rows, dim)."""
        self._file.flush()
        with self._path.open("rb") as file:
            header = Header((self.count, self.dim), np.dtype(np.float32), 0)
            yield from read_blocks(file, header, "the vectors of this build", rows)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)
