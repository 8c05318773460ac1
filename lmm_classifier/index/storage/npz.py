"""An index as one `.npz` file that numpy can read: to copy it elsewhere, and for other programs."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import DTypeLike

from lmm_classifier.core.arrays import nest
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.files import atomic_write
from lmm_classifier.core.labels import normal_label
from lmm_classifier.index.contents import ADDED, Array, EncoderVectors, IndexContents
from lmm_classifier.index.dismissals import Dismissal
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.storage.arrays import read_array, read_blocks, read_header, write_array
from lmm_classifier.index.storage.state import GROUPS, groups_from_arrays, groups_to_arrays

MANIFEST = "manifest.json"
VECTORS, TRANSFORM, CALIBRATION = "vectors", "transform", "calibration"  # prefixes of arrays, followed by a dot
_TIMES = "milliseconds"
_DISMISSALS = "dismissals"
_TABLE = ("labels", "paths", "hashes")
_MAX_MANIFEST = 1 << 20  # bytes


def write_archive(path: Path, contents: IndexContents) -> None:
    """Write `contents` to the file `path`; if that fails, a former file is unchanged."""
    if path.is_dir():
        raise IndexFileError(f"{path} is a folder, but an index named .npz is a file. Choose another output.")
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(MANIFEST, contents.manifest.to_json())
        for name, blocks, shape, dtype in _arrays(contents):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                write_array(file, blocks, shape, dtype)


def _arrays(contents: IndexContents) -> Iterator[tuple[str, Iterable[Array], tuple[int, ...], DTypeLike]]:
    manifest = contents.manifest
    for place, (vectors, fingerprint) in enumerate(zip(contents.vectors, manifest.fingerprints, strict=True)):
        yield f"{VECTORS}.{place}", vectors.blocks(), (manifest.count, fingerprint.dim), contents.dtype
    for name in _TABLE:
        column = np.array(getattr(contents, name), dtype=np.str_)
        yield name, [column], column.shape, column.dtype
    fitted = nest(CALIBRATION, contents.calibration or {})
    for place, vectors in enumerate(contents.vectors):
        fitted |= nest(f"{TRANSFORM}.{place}", vectors.transform_arrays)
    fitted[_TIMES] = np.array([contents.milliseconds.get(space, np.nan) for space in manifest.space_ids])
    fitted |= nest(GROUPS, groups_to_arrays(contents.groups))
    if contents.dismissals:
        fitted[_DISMISSALS] = np.array([dismissal.to_json() for dismissal in contents.dismissals], np.str_)
    for name, array in fitted.items():
        yield name, [np.atleast_1d(array)], np.atleast_1d(array).shape, array.dtype


def read_archive(path: Path) -> IndexContents:
    """Read everything but the vectors, which stay in the file; raise IndexFileError unless the index is sound."""
    with _translated(path):
        return _read(path)


def read_archive_manifest(path: Path) -> Manifest:
    """Read only the manifest; raise IndexFileError unless the file is an index by it."""
    with _translated(path), zipfile.ZipFile(path) as archive:
        return _manifest(archive, path, _sizes(archive, path))


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn errors of the archive into an IndexFileError that says what to do."""
    try:
        yield
    except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError) as error:
        raise IndexFileError(
            f"{path} is not a readable index ({error}). Build it again with `lmm-classifier build`."
        ) from None


def _read(path: Path) -> IndexContents:
    with zipfile.ZipFile(path) as archive:
        sizes = _sizes(archive, path)
        return _contents(_Members(path, archive, sizes), _manifest(archive, path, sizes))


def _manifest(archive: zipfile.ZipFile, path: Path, sizes: Mapping[str, int]) -> Manifest:
    manifest = Manifest.from_json(archive.read(MANIFEST), str(path))
    _check_names(path, sizes, manifest)
    return manifest


def _sizes(archive: zipfile.ZipFile, path: Path) -> dict[str, int]:
    """Return the size in bytes of each member; none is compressed, and the manifest is small."""
    members = archive.infolist()
    unpacked_size = sum(member.file_size for member in members)
    if any(member.compress_type != zipfile.ZIP_STORED for member in members) or unpacked_size > path.stat().st_size:
        raise IndexFileError(f"{path} is compressed, but an index is not: it could unpack to any size.")
    sizes = {member.filename: member.file_size for member in members}
    if sizes.get(MANIFEST, _MAX_MANIFEST + 1) > _MAX_MANIFEST:
        raise IndexFileError(
            f"{path} is not an index of this program: it has no {MANIFEST} of less than {_MAX_MANIFEST:,} bytes."
        )
    return sizes


def _check_names(path: Path, sizes: Mapping[str, int], manifest: Manifest) -> None:
    places = range(len(manifest.encoders))
    required = {f"{name}.npy" for name in (*(f"{VECTORS}.{place}" for place in places), *_TABLE)}
    if missing := sorted(required - set(sizes)):
        raise IndexFileError(f"{path} is incomplete: {', '.join(missing)} missing.")
    prefixes = (f"{TRANSFORM}.", f"{CALIBRATION}.", f"{GROUPS}.")
    optional = {MANIFEST, f"{_TIMES}.npy", f"{_DISMISSALS}.npy"}
    if other := sorted(name for name in set(sizes) - required - optional if not name.startswith(prefixes)):
        raise IndexFileError(f"{path} is damaged or not an index of this program: it has a member {other[0]!r}.")


@dataclass(frozen=True)
class _Members:
    """The members of an archive that is open, with their sizes in bytes."""

    path: Path
    archive: zipfile.ZipFile
    sizes: Mapping[str, int]

    def array(self, name: str) -> Array:
        """Return the array of a member."""
        with self.archive.open(name) as file:
            source = f"{self.path}:{name}"
            return read_array(file, read_header(file, self.sizes[name], source), source)

    def arrays_under(self, prefix: str) -> dict[str, Array]:
        """Return all arrays whose names begin with a prefix, by the rest of their names."""
        start, end = f"{prefix}.", ".npy"
        names = [name for name in self.sizes if name.startswith(start) and name.endswith(end)]
        return {name[len(start) : -len(end)]: self.array(name) for name in names}

    def texts(self, name: str, count: int | None) -> list[str]:
        """Return the texts of a member; raise IndexFileError unless there are `count`, where it is known."""
        array = self.array(f"{name}.npy")
        if array.dtype.kind != "U" or array.ndim != 1 or count not in (None, len(array)):
            raise IndexFileError(
                f"{self.path}: {name} are {array.dtype} {array.shape}, expected {count or 'some'} texts."
            )
        characters = array.view(array.dtype.byteorder.replace("=", "<") + "u4") if array.size else array
        if array.size and characters.max() > sys.maxunicode:
            raise IndexFileError(f"{self.path}: {name} hold damaged text with a number that is not a character.")
        return list(map(str, array.tolist()))


def _contents(members: _Members, manifest: Manifest) -> IndexContents:
    labels, paths, hashes = (members.texts(name, manifest.count) for name in _TABLE)
    labels = [normal_label(label) for label in labels]  # another program may have written it
    require_inside(paths, str(members.path), manifest.has_images)
    stored = _vectors(members, manifest)
    vectors = [
        EncoderVectors(members.arrays_under(f"{TRANSFORM}.{place}"), member.blocks)
        for place, member in enumerate(stored)
    ]
    return IndexContents(
        manifest,
        labels,
        paths,
        hashes,
        tuple(vectors),
        stored[0].header.dtype,
        members.arrays_under(CALIBRATION) or None,
        dismissals=_dismissals(members),
        milliseconds=_milliseconds(members, manifest),
        groups=groups_from_arrays(members.arrays_under(GROUPS), str(members.path)),
    )


def _vectors(members: _Members, manifest: Manifest) -> list[_VectorsMember]:
    """Return the vectors of each encoder, which have the shape that the manifest says."""
    names = [f"{VECTORS}.{place}.npy" for place in range(len(manifest.encoders))]
    stored = [_VectorsMember(members, name) for name in names]
    for member, fingerprint in zip(stored, manifest.fingerprints):
        header, shape = member.header, (manifest.count, fingerprint.dim)
        if header.shape != shape or header.dtype not in (np.dtype("<f4"), np.dtype("<f2")):
            raise IndexFileError(
                f"{members.path} holds vectors of {header.dtype} {header.shape}, the manifest says {shape}."
            )
    return stored


class _VectorsMember:
    """The vectors of one encoder in an archive; they stay in the file."""

    def __init__(self, members: _Members, name: str) -> None:
        self._path, self._name, self._size = members.path, name, members.sizes[name]
        self._source = f"{members.path}:{name}"
        with members.archive.open(name) as file:
            self.header = read_header(file, self._size, self._source)

    def blocks(self) -> Iterator[Array]:
        """Yield the vectors in blocks."""
        with _translated(self._path), _opened(self._path, self._name) as file:
            yield from read_blocks(file, read_header(file, self._size, self._source), self._source)


def _milliseconds(members: _Members, manifest: Manifest) -> dict[str, float]:
    """Return the time of each encoder per image, where it is known."""
    if f"{_TIMES}.npy" not in members.sizes:
        return {}
    times = members.array(f"{_TIMES}.npy")
    if times.dtype.kind != "f" or times.shape != (len(manifest.encoders),):
        raise IndexFileError(
            f"{members.path}: {_TIMES} are {times.dtype} {times.shape}, expected one for each encoder."
        )
    return {space: float(time) for space, time in zip(manifest.space_ids, times) if np.isfinite(time) and time >= 0}


def _dismissals(members: _Members) -> list[Dismissal]:
    """Return the dismissed findings; raise IndexFileError where they are none."""
    if f"{_DISMISSALS}.npy" not in members.sizes:
        return []
    try:
        return [Dismissal.from_json(text) for text in members.texts(_DISMISSALS, None)]
    except ValueError as error:
        raise IndexFileError(f"{members.path}: {_DISMISSALS} are damaged: {error}.") from None


def require_inside(paths: Iterable[str], source: str, has_images: bool = True) -> None:
    """Raise IndexFileError if an id leads out of the dataset folder; without images, an id names no file."""
    for path in paths:
        if "\0" in path or (has_images and (path.startswith("/") or ".." in path.split("/"))):
            raise IndexFileError(f"{source}: the example {path!r} leads out of the dataset folder.")
        if path.startswith(ADDED) and "/" in path.removeprefix(ADDED):
            raise IndexFileError(f"{source}: the example {path!r} leads out of the folder of added images.")


@contextmanager
def _opened(path: Path, name: str) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(path) as archive, archive.open(name) as file:
        yield file
