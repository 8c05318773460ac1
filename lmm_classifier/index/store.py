"""An index on disk: one `.npz` file, or a folder of `.npy` files opened by memory mapping."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lmm_classifier.atomic import replacing_file, replacing_folder
from lmm_classifier.errors import IndexFileError
from lmm_classifier.index.arrays import Header, read_array, read_blocks, read_header, write_array
from lmm_classifier.index.manifest import Manifest

Array = NDArray[Any]
MANIFEST = "manifest.json"
VECTORS = "vectors"
_TABLE = ("labels", "paths", "hashes")
_SPACE = "space."  # prefix of the arrays of the space
_CALIBRATION = "calibration."  # prefix of the arrays of the calibration
_MAX_MANIFEST = 1 << 20  # bytes


@dataclass(frozen=True)
class Contents:
    """What is in an index; vectors are as the encoder made them, the space is applied when it is opened."""

    manifest: Manifest
    labels: list[str]
    paths: list[str]
    hashes: list[str]
    space_state: Mapping[str, Array]
    vector_blocks: Callable[[], Iterable[Array]]  # encoder vectors, in consecutive blocks (m, dim)
    dtype: DTypeLike = np.float32
    calibration: Mapping[str, Array] | None = None  # what `calibrate` found, if it was run
    mapped: NDArray[np.float32] | None = None  # the same vectors as one memory-mapped matrix, where there is one


def write_index(path: Path, contents: Contents) -> None:
    """Write `contents` to `path`: a `.npz` file if it is named so, else a folder; whole or not at all."""
    if path.suffix == ".npz":
        if path.is_dir():
            raise IndexFileError(f"{path} is a folder; an index named .npz is a file: choose another output")
        with replacing_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(MANIFEST, contents.manifest.to_json())
            for name, blocks, shape, dtype in _arrays(contents):
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    write_array(file, blocks, shape, dtype)
    else:
        with replacing_folder(path, lambda old: (old / MANIFEST).is_file()) as folder:
            for name, blocks, shape, dtype in _arrays(contents):
                with (folder / f"{name}.npy").open("wb") as file:
                    write_array(file, blocks, shape, dtype)
            (folder / MANIFEST).write_text(contents.manifest.to_json(), encoding="utf-8")


def _arrays(contents: Contents) -> Iterator[tuple[str, Iterable[Array], tuple[int, ...], DTypeLike]]:
    manifest = contents.manifest
    yield VECTORS, contents.vector_blocks(), (manifest.count, manifest.fingerprint.dim), contents.dtype
    for name in _TABLE:
        column = np.array(getattr(contents, name), dtype=np.str_)
        yield name, [column], column.shape, column.dtype
    for prefix, state in ((_SPACE, contents.space_state), (_CALIBRATION, contents.calibration or {})):
        for name, array in state.items():
            yield prefix + name, [np.atleast_1d(array)], np.atleast_1d(array).shape, array.dtype


def read_index(path: Path) -> Contents:
    """Read everything but the vectors, which stay on disk; raises IndexFileError on anything but a sound index."""
    if not path.exists():
        raise IndexFileError(
            f"there is no index at {path}: make one with `lmm-classifier build CORPUS --output {path}`"
        )
    try:
        return _read_folder(path) if path.is_dir() else _read_npz(path)
    except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError) as error:
        raise IndexFileError(
            f"{path} is not a readable index ({error}): rebuild it with `lmm-classifier build`"
        ) from None


def _read_npz(path: Path) -> Contents:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        packed = sum(member.file_size for member in members)
        if any(member.compress_type != zipfile.ZIP_STORED for member in members) or packed > path.stat().st_size:
            raise IndexFileError(f"{path}: an index is not compressed, so it cannot be larger inside than outside")
        sizes = {member.filename: member.file_size for member in members}
        if sizes.get(MANIFEST, _MAX_MANIFEST + 1) > _MAX_MANIFEST:
            raise IndexFileError(f"{path} is not an index of this program: it has no {MANIFEST} of a sensible size")
        manifest = Manifest.from_json(archive.read(MANIFEST), str(path))

    @contextmanager
    def opened(name: str) -> Iterator[tuple[IO[bytes], int]]:
        with zipfile.ZipFile(path) as archive, archive.open(name) as file:
            yield file, sizes[name]

    return _read_members(path, manifest, sizes, opened)


def _read_folder(path: Path) -> Contents:
    file = path / MANIFEST
    if not file.is_file() or file.stat().st_size > _MAX_MANIFEST:
        raise IndexFileError(f"{path} is not an index: the folder has no {MANIFEST}")
    manifest = Manifest.from_json(file.read_bytes(), str(path))
    sizes = {member.name: member.stat().st_size for member in path.iterdir() if member.is_file()}

    @contextmanager
    def opened(name: str) -> Iterator[tuple[IO[bytes], int]]:
        with (path / name).open("rb") as stream:
            yield stream, sizes[name]

    contents = _read_members(path, manifest, sizes, opened)
    if contents.dtype != np.float32:
        return contents
    matrix = np.load(path / f"{VECTORS}.npy", mmap_mode="r", allow_pickle=False)
    return replace(contents, mapped=matrix)


Opened = Callable[[str], Any]  # name -> context manager of (stream, size in bytes)


def _read_members(path: Path, manifest: Manifest, sizes: Mapping[str, int], opened: Opened) -> Contents:
    wanted = {f"{name}.npy" for name in (VECTORS, *_TABLE)}
    if missing := sorted(wanted - set(sizes)):
        raise IndexFileError(f"{path} is incomplete: {', '.join(missing)} missing")
    labels, paths, hashes = (_read_text(path, name, manifest.count, opened) for name in _TABLE)
    if strange := next((one for one in paths if one.startswith("/") or ".." in one.split("/")), None):
        raise IndexFileError(f"{path}: the example {strange!r} leads out of the corpus folder")
    state, calibration = (
        {
            name[len(prefix) : -len(".npy")]: _read_one(path, name, opened)
            for name in sizes
            if name.startswith(prefix) and name.endswith(".npy")
        }
        for prefix in (_SPACE, _CALIBRATION)
    )
    vectors = f"{VECTORS}.npy"
    with opened(vectors) as (file, size):
        header = read_header(file, size, f"{path}:{vectors}")
    shape = (manifest.count, manifest.fingerprint.dim)
    if header.shape != shape or header.dtype not in (np.dtype("<f4"), np.dtype("<f2")):
        raise IndexFileError(f"{path}: vectors of {header.dtype} {header.shape}, the manifest says {shape}")

    def vector_blocks() -> Iterator[Array]:
        with opened(vectors) as (file, size):
            yield from read_blocks(file, read_header(file, size, f"{path}:{vectors}"), f"{path}:{vectors}")

    return Contents(manifest, labels, paths, hashes, state, vector_blocks, header.dtype, calibration or None)


def _read_one(path: Path, name: str, opened: Opened) -> Array:
    with opened(name) as (file, size):
        header: Header = read_header(file, size, f"{path}:{name}")
        return read_array(file, header, f"{path}:{name}")


def _read_text(path: Path, name: str, count: int, opened: Opened) -> list[str]:
    array = _read_one(path, f"{name}.npy", opened)
    if array.dtype.kind != "U" or array.shape != (count,):
        raise IndexFileError(f"{path}: {name} are {array.dtype} {array.shape}, expected {count} texts")
    characters = array.view(array.dtype.byteorder.replace("=", "<") + "u4") if array.size else array
    if array.size and characters.max() > sys.maxunicode:
        raise IndexFileError(f"{path}: {name} hold damaged text: a number that is no character")
    return list(map(str, array.tolist()))
