"""What is derived from the database for speed: the table of examples and the matrix that is searched, in two files.

Both can be made again at any time, so they carry checksums instead of being synced to the disk. Their names end in the
version of the index that they are of; whoever finds them out of date makes new ones, if the folder can be written.
"""

from __future__ import annotations

import logging
import os
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.files import umask
from lmm_classifier.index.storage.table import Table, from_bytes, to_bytes

logger = logging.getLogger(__name__)

FOLDER = "derived"
_BLOCK = 1 << 22  # bytes under one checksum
_OFFSET = 128  # bytes of the header of the matrix
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Stamp:
    """Which version of which index a snapshot is of."""

    index: str
    version: int
    digest: int  # of all examples
    space: int  # of the space of the matrix


@dataclass(frozen=True)
class Snapshot:
    """The examples of one version, and where their vectors in the search space are."""

    stamp: Stamp
    table: Table
    mapped: FloatArray  # (N, d), memory-mapped: it stays readable when a writer removes the file
    crcs: list[int]

    def matrix(self) -> FloatArray:
        """The matrix (N, d), compared with its checksums; raises IndexFileError if it is damaged."""
        if _crcs(self.mapped) != self.crcs:
            raise IndexFileError("the derived matrix is damaged")
        return self.mapped


def read_snapshot(folder: Path, version: int | None = None) -> Snapshot | None:
    """The snapshot of `version`, or of the newest there is; None where there is none that is sound."""
    for found in sorted(_versions(folder), reverse=True) if version is None else [version]:
        try:
            return _parsed(folder, found)
        except FileNotFoundError:
            continue  # there is none, or a writer has swept it just now
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            logger.warning("%s is passed over: %s", _table_file(folder, found), error)
    return None


def _versions(folder: Path) -> Iterator[int]:
    with suppress(OSError):
        for file in (folder / FOLDER).iterdir():
            if file.suffix == ".table" and file.stem.isdecimal():
                yield int(file.stem)


def _table_file(folder: Path, version: int) -> Path:
    return folder / FOLDER / f"{version}.table"


def _matrix_file(folder: Path, version: int) -> Path:
    return folder / FOLDER / f"{version}.npy"


def _parsed(folder: Path, version: int) -> Snapshot:
    table, about = from_bytes(_table_file(folder, version).read_bytes(), str(folder))
    mapped = _mapped(_matrix_file(folder, version), (len(table.paths), about["width"]))
    return Snapshot(Stamp(**about["stamp"]), table, mapped, about["crcs"])


def _mapped(file: Path, shape: tuple[int, int]) -> FloatArray:
    expected = _OFFSET + 4 * shape[0] * shape[1]
    if (size := file.stat().st_size) != expected:
        raise ValueError(f"its matrix has {size:,} bytes, not {expected:,}")
    return np.memmap(file, np.float32, "r", _OFFSET, shape)


Rows = Callable[[], Iterable[tuple[Sequence[int], FloatArray]]]  # places of rows, and those rows (m, d)


def write_snapshot(folder: Path, stamp: Stamp, table: Table, width: int, rows: Rows) -> Snapshot:
    """Make the snapshot of `table` and sweep older ones; raises OSError if it cannot be."""
    derived = folder / FOLDER
    derived.mkdir(exist_ok=True)
    shape = len(table.paths), width
    matrix_file = _matrix_file(folder, stamp.version)
    with _replacing(matrix_file) as handle:
        _write_all(handle, _npy_header(shape))
        os.ftruncate(handle, _OFFSET + 4 * shape[0] * width)
        for places, block in rows():
            _put(handle, places, np.ascontiguousarray(block, np.float32))
        crcs = list(_crcs_of_file(handle))
    snapshot = Snapshot(stamp, table, _mapped(matrix_file, shape), crcs)
    with _replacing(_table_file(folder, stamp.version)) as handle:
        _write_all(handle, to_bytes(table, {"stamp": asdict(stamp), "width": width, "crcs": crcs}))
    _sweep(derived, stamp.version)
    return snapshot


def rows_in_memory(count: int, width: int, rows: Rows) -> FloatArray:
    """The matrix (N, d) of a snapshot, where no file can be written."""
    matrix = np.empty((count, width), np.float32)
    for places, block in rows():
        matrix[places] = block
    return matrix


@contextmanager
def _replacing(path: Path) -> Iterator[int]:
    """A temporary file that takes the place of `path` when the block ends well; not synced, for it can be remade."""
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        try:
            yield handle
        finally:
            os.close(handle)
        temporary.chmod(0o666 & ~umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _put(handle: int, places: Sequence[int], block: FloatArray) -> None:
    """Write rows at their places, those that follow each other at once."""
    where = np.asarray(places)
    for run in np.split(np.arange(len(where)), np.flatnonzero(np.diff(where) != 1) + 1):
        if len(run):
            os.lseek(handle, _OFFSET + int(where[run[0]]) * block.shape[1] * 4, os.SEEK_SET)
            _write_all(handle, block[run].tobytes())


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _npy_header(shape: tuple[int, int]) -> bytes:
    """A `.npy` header of a fixed length, so that numpy reads the file, and the values begin at one place."""
    text = repr({"descr": "<f4", "fortran_order": False, "shape": shape})
    room = _OFFSET - len(npy.magic(1, 0)) - 2
    return npy.magic(1, 0) + room.to_bytes(2, "little") + (text.ljust(room - 1) + "\n").encode("ascii")


def _crcs(matrix: FloatArray) -> list[int]:
    """The checksums of a matrix, block by block."""
    values = matrix.reshape(-1).view(np.uint8)
    return [zlib.crc32(values[start : start + _BLOCK].data) for start in range(0, len(values), _BLOCK)]


def _crcs_of_file(handle: int) -> Iterator[int]:
    """The same, without making the pages of the file a part of this process."""
    os.lseek(handle, _OFFSET, os.SEEK_SET)
    while data := os.read(handle, _BLOCK):
        while len(data) < _BLOCK and (more := os.read(handle, _BLOCK - len(data))):
            data += more
        yield zlib.crc32(data)


def _sweep(derived: Path, version: int) -> None:
    """Remove the files of older versions and what was left half written; who has one of them open keeps it."""
    for file in derived.iterdir():
        stem = file.name.partition(".")[0]
        if (stem.isdecimal() and int(stem) < version) or file.name.endswith(".tmp"):
            try:
                file.unlink()
            except OSError as error:
                logger.debug("%s stays: %s", file, error)
