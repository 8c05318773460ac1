"""Where the images of a run come from: a folder, or files that were uploaded and are kept by their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from lmm_classifier.core.errors import ReviewError
from lmm_classifier.core.files import sync_to_disk
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.images import hash_of
from lmm_classifier.data.places import Place
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import find_in_source, open_root
from lmm_classifier.discovery.drift.stream_order import in_stream_order

UPLOADS = "uploads"  # folder in that of the index
_LOCK = "uploads.lock"
_WAIT = 10.0  # seconds
_RECENT = 3600.0  # seconds


@dataclass(frozen=True)
class NamedImage:
    """An image of a run, and its name there; `data` are its bytes, where its file is not stored yet."""

    name: str
    file: Place
    data: bytes | None = None


class ImageSource(Protocol):
    """Gives the images of a run. The same run asks again where it was interrupted."""

    def describe(self) -> Mapping[str, Any]:
        """Return JSON that is stored with the run; `source_of` opens it again."""
        ...

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def __iter__(self) -> Iterator[NamedImage]:
        """Yield the images, in the same order each time."""
        ...


class FolderImages:
    """The images in a folder and its subfolders, or in an archive or a table; their names are ids in it.

    Their order has nothing to do with what they show, so that a drift test is not misled by a folder sorted by label.

    Raises DatasetError where it is none of these.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = Path(os.path.abspath(folder))  # noqa: PTH100 - a link to the folder stays a link
        self._found = find_in_source(DatasetSpec(str(self._folder)), ImagesConfig())

    def describe(self) -> Mapping[str, Any]:
        """Return the folder, or the file of the dataset."""
        return {"kind": "folder", "folder": str(self._folder)}

    def __len__(self) -> int:
        return len(self._found.places)

    def __iter__(self) -> Iterator[NamedImage]:
        named = map(NamedImage, self._found.ids, self._found.places)
        yield from in_stream_order(named, lambda image: image.name)


class UploadedFiles:
    """Image files that came as bytes; they are kept, private, until their run is deleted.

    Runs with the same content share a file. So whoever keeps files and stores their items, or removes those that no
    item needs any more, does it `alone`.
    """

    def __init__(self, index_folder: Path) -> None:
        self._folder, self._lock = index_folder / UPLOADS, index_folder / _LOCK

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other threads and programs from keeping and removing files in this block, which must be short.

        Raises ReviewError where another one takes too long.
        """
        lock = FileLock(self._lock, timeout=_WAIT)
        try:
            lock.acquire()
        except Timeout:
            raise ReviewError(
                f"Another program has kept the uploaded images for {_WAIT:g} seconds. Try again, or end that program."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def received(self, name: str, data: bytes) -> NamedImage:
        """Return an image that is not stored yet, with the file in which `keep` will store it."""
        return NamedImage(name, self.file_of(hashlib.sha256(data).hexdigest()), data)

    def keep(self, image: NamedImage) -> None:
        """Store the bytes of a received image under their hash; its name is only text and never a path."""
        data = image.data
        if data is None:
            return
        file = self.file_of(hashlib.sha256(data).hexdigest())
        if not file.is_file():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            temporary = self._folder / f".{file.name}-{os.getpid()}-{os.urandom(4).hex()}.tmp"
            try:
                handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
                with os.fdopen(handle, "wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
                temporary.replace(file)
                sync_to_disk(self._folder)
            except OSError as error:
                raise ReviewError(f"The image {image.name!r} cannot be stored: {error.strerror or error}.") from error
            finally:
                temporary.unlink(missing_ok=True)

    def file_of(self, digest: str) -> Path:
        """Return the file of a content."""
        return self._folder / digest

    def remove(self, digests: Iterable[str]) -> None:
        """Delete the files of contents; those that were not uploaded are none of these."""
        for digest in digests:
            self.file_of(digest).unlink(missing_ok=True)

    def stored_bytes(self) -> int:
        """Return the size of all files."""
        return sum(file.stat().st_size for file in self._folder.iterdir()) if self._folder.is_dir() else 0

    def others(self, wanted: Collection[str], now: float) -> list[Path]:
        """Return the files whose content is not wanted, without those that came in the hour before `now`."""
        if not self._folder.is_dir():
            return []
        limit = now - _RECENT  # their items may not be stored yet
        return [file for file in self._folder.iterdir() if file.name not in wanted and file.stat().st_mtime < limit]


def file_of_item(source: Mapping[str, Any], index_folder: Path, name: str, digest: str) -> Place:
    """Return the image of an item of a run; raise ReviewError where it is not there any more, or has changed.

    Args:
        source: as `ImageSource.describe` tells.
        index_folder: the folder of the index.
        name: of the item.
        digest: SHA-256 of the content that was classified.
    """
    is_upload = source["kind"] == "upload"
    stored = DatasetSpec(str(source["folder"])).stored() if not is_upload else ""
    file: Place = UploadedFiles(index_folder).file_of(digest) if is_upload else _root(stored) / name
    try:
        found = hash_of(file, file.read_bytes())
    except OSError as error:
        raise ReviewError(f"The image cannot be read any more: {error.strerror or type(error).__name__}.") from error
    if found != digest:
        raise ReviewError("The file changed after it was classified. Classify it again.")
    return file


_root = lru_cache(maxsize=4)(open_root)  # an archive is not opened again for each of many items
