"""Files derived from the database for speed: the table of examples, and a search matrix for each encoder.

They can be made again at any time. So they have checksums and are not synced to the disk. Their names begin with the
version of the index. If they are out of date, opening the index makes new ones, where the folder is writable.
"""

from __future__ import annotations

import logging
import math
import os
import tempfile
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.files import umask
from lmm_classifier.index.storage.table import Table, from_bytes, to_bytes

logger: logging.Logger = logging.getLogger(__name__)

FOLDER = "derived"
_BLOCK = 1 << 22  # bytes under one checksum
_OFFSET = 128  # bytes of the header of the matrix
_CHECKED = deque[object](maxlen=32)  # files whose checksums this process found right


@dataclass(frozen=True)
class Stamp:
    """Identifies the index and the version that a snapshot was made from."""

    index: str
    version: int
    digest: int  # of all examples
    edits: int  # id of the last edit
    transforms: tuple[int, ...]  # for each matrix a checksum of the encoder and its transform


@dataclass(frozen=True)
class Snapshot:
    """The examples of one version and the matrices of their transformed vectors, one for each encoder."""

    stamp: Stamp
    table: Table
    mapped: tuple[Float32Array, ...]  # (N, d), memory-mapped; they stay readable after a writer removes the files
    crcs: list[list[int]]
    is_checked: bool = False  # whether this process has just computed the checksums
    files: tuple[object, ...] = ()  # of the matrices: differs where another file has the name

    def matrix(self, encoder: int) -> Float32Array:
        """Return the matrix (N, d) of an encoder; raise IndexFileError if it is damaged. A file is checked once."""
        if not self.is_checked and self.files[encoder] not in _CHECKED:
            if _crcs(self.mapped[encoder]) != self.crcs[encoder]:
                raise IndexFileError("the derived matrix is damaged")
            _CHECKED.append(self.files[encoder])
        return self.mapped[encoder]


def read_snapshot(folder: Path, version: int | None = None) -> Snapshot | None:
    """Read the snapshot of `version`, or the newest one; return None if there is no sound one."""
    for candidate in sorted(_versions(folder), reverse=True) if version is None else [version]:
        try:
            return _parsed(folder, candidate)
        except FileNotFoundError:
            continue  # there is none, or a writer has just removed it
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            logger.warning("%s is ignored: %s", _table_file(folder, candidate), error)
    return None


def has_snapshot(folder: Path, version: int) -> bool:
    """Return whether there is a snapshot of `version`, sound or not."""
    return _table_file(folder, version).exists()


def seconds_since_written(folder: Path, version: int) -> float:
    """Return the age of the snapshot of `version`, infinity where there is none."""
    try:
        return time.time() - _table_file(folder, version).stat().st_mtime
    except OSError:
        return math.inf


def _versions(folder: Path) -> Iterator[int]:
    with suppress(OSError):
        for file in (folder / FOLDER).iterdir():
            if file.suffix == ".table" and file.stem.isdecimal():
                yield int(file.stem)


def _table_file(folder: Path, version: int) -> Path:
    return folder / FOLDER / f"{version}.table"


def _matrix_file(folder: Path, version: int, encoder: int) -> Path:
    return folder / FOLDER / f"{version}.{encoder}.npy"


def _parsed(folder: Path, version: int) -> Snapshot:
    table, about = from_bytes(_table_file(folder, version).read_bytes(), str(folder))
    stamp = Stamp(**{**about["stamp"], "transforms": tuple(about["stamp"]["transforms"])})
    mapped = tuple(
        _mapped(_matrix_file(folder, version, encoder), (len(table.paths), width))
        for encoder, width in enumerate(about["widths"])
    )
    if not len(mapped) == len(about["crcs"]) == len(stamp.transforms):
        raise ValueError(f"it has {len(mapped)} matrices of {len(stamp.transforms)} encoders")
    files = tuple(_identity(_matrix_file(folder, version, encoder)) for encoder in range(len(mapped)))
    return Snapshot(stamp, table, mapped, about["crcs"], files=files)


def _identity(file: Path) -> object:
    found = file.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _mapped(file: Path, shape: tuple[int, int]) -> Float32Array:
    expected = _OFFSET + 4 * shape[0] * shape[1]
    if (size := file.stat().st_size) != expected:
        raise ValueError(f"its matrix has {size:,} bytes, not {expected:,}")
    return np.memmap(file, np.float32, "r", _OFFSET, shape)


Rows = Callable[[], Iterable[tuple[IntArray, Float32Array]]]  # row numbers, and these rows (m, d)


def write_snapshot(folder: Path, stamp: Stamp, table: Table, widths: Sequence[int], rows: Sequence[Rows]) -> Snapshot:
    """Write the snapshot of `table` and remove older ones; raise OSError if it cannot be written.

    `widths` and `rows` are those of the matrix of each encoder.
    """
    derived = folder / FOLDER
    derived.mkdir(exist_ok=True)
    files = [_matrix_file(folder, stamp.version, encoder) for encoder in range(len(widths))]
    shapes = [(len(table.paths), width) for width in widths]
    crcs = [_write_matrix(*matrix) for matrix in zip(files, shapes, rows, strict=True)]
    snapshot = Snapshot(stamp, table, tuple(map(_mapped, files, shapes)), crcs, is_checked=True)
    with _replacing(_table_file(folder, stamp.version)) as handle:
        _write_all(handle, to_bytes(table, {"stamp": asdict(stamp), "widths": list(widths), "crcs": crcs}))
    _remove_former(derived, stamp.version)
    return snapshot


def _write_matrix(file: Path, shape: tuple[int, int], rows: Rows) -> list[int]:
    """Write a matrix (N, d) and return its checksums."""
    with _replacing(file) as handle:
        _write_all(handle, _npy_header(shape))
        os.ftruncate(handle, _OFFSET + 4 * shape[0] * shape[1])
        for places, block in rows():
            _put(handle, places, np.ascontiguousarray(block, np.float32))
        return list(_crcs_of_file(handle))


def rows_in_memory(count: int, width: int, rows: Rows) -> Float32Array:
    """Return the matrix (N, d) of a snapshot, for a folder that is not writable."""
    matrix = np.empty((count, width), np.float32)
    for places, block in rows():
        matrix[places] = block
    return matrix


@contextmanager
def _replacing(path: Path) -> Iterator[int]:
    """Open a temporary file that replaces `path` if the block succeeds; it is not synced, since it can be remade."""
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


def _put(handle: int, rows: IntArray, block: Float32Array) -> None:
    """Write rows at their places, consecutive ones together."""
    for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
        if len(run):
            os.lseek(handle, _OFFSET + int(rows[run[0]]) * block.shape[1] * 4, os.SEEK_SET)
            _write_all(handle, block[run].tobytes())


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _npy_header(shape: tuple[int, int]) -> bytes:
    """Return a `.npy` header of a fixed length: numpy can read the file, and its values begin at a fixed position."""
    text = repr({"descr": "<f4", "fortran_order": False, "shape": shape})
    room = _OFFSET - len(npy.magic(1, 0)) - 2
    return npy.magic(1, 0) + room.to_bytes(2, "little") + (text.ljust(room - 1) + "\n").encode("ascii")


def _crcs(matrix: Float32Array) -> list[int]:
    """Return the checksums of a matrix, one for each block."""
    values = matrix.reshape(-1).view(np.uint8)
    return [zlib.crc32(values[start : start + _BLOCK].data) for start in range(0, len(values), _BLOCK)]


def _crcs_of_file(handle: int) -> Iterator[int]:
    """Yield the same for a file, without adding its pages to the memory of this process."""
    os.lseek(handle, _OFFSET, os.SEEK_SET)
    while data := os.read(handle, _BLOCK):
        while len(data) < _BLOCK and (more := os.read(handle, _BLOCK - len(data))):
            data += more
        yield zlib.crc32(data)


def _remove_former(derived: Path, version: int) -> None:
    """Remove the files of older versions and half-written ones; a reader that has one open can still use it."""
    for file in derived.iterdir():
        stem = file.name.partition(".")[0]
        if (stem.isdecimal() and int(stem) < version) or file.name.endswith(".tmp"):
            try:
                file.unlink()
            except OSError as error:
                logger.debug("%s could not be removed: %s", file, error)
