"""Files and folders of a URL as places, read by fsspec; credentials come from the environment, never from the URL."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, cast
from urllib.parse import unquote

from lmm_classifier.core.errors import DatasetError, LmmClassifierError
from lmm_classifier.core.optional_imports import import_optional
from lmm_classifier.core.redaction import quote_foreign
from lmm_classifier.data.places import MemberStatus
from lmm_classifier.data.readers.listing import Row
from lmm_classifier.data.readers.names import member_id

# scheme -> library that fsspec needs for it, and the extra that installs it
_LIBRARIES = {
    "s3": ("s3fs", "remote"),
    "gs": ("gcsfs", "gcs"),
    "http": ("aiohttp", "remote"),
    "https": ("aiohttp", "remote"),
}
_MOST_FILES = 10_000_000


@dataclass(frozen=True)
class RemoteFile:
    """A file that a URL names; a place and a source file."""

    url: str
    known: MemberStatus | None = None  # from a listing, so that no request is needed for it
    is_refused: bool = False  # the name leads out of the folder that it was found in

    def stat(self) -> MemberStatus:
        """Return the size and the time; raise OSError where the file is gone or the server cannot be reached."""
        if self.is_refused:
            raise OSError(f"{self.url}: its name leaves the folder, or is a query")
        if self.known is not None:
            return self.known
        with _translated(self.url):
            return _status(_filesystem(self.url).info(self.url), self.url)

    def read_bytes(self) -> bytes:
        """Return the bytes; raise OSError where there are more than `stat` says."""
        size = self.stat().st_size
        data = self.read_range(0, size + 1)
        if len(data) > size:
            raise OSError(f"{self.url} grew while it was read")
        return data

    def open(self) -> BinaryIO:
        """Open it for reading; parts are fetched as they are asked for."""
        with _translated(self.url):
            return cast(BinaryIO, _filesystem(self.url).open(self.url, "rb"))

    def read_range(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start`, fewer at the end."""
        if size <= 0:
            return b""
        with _translated(self.url):
            files = _filesystem(self.url)
            if not self.url.startswith("http"):
                return bytes(files.cat_file(self.url, start=start, end=start + size))
            # a web server may ignore the range; this reads no more than was asked for
            with files.open(self.url, "rb", block_size=max(size, 1 << 16)) as file:
                if start:
                    file.seek(start)
                return bytes(file.read(size))

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True)
class RemoteFolder:
    """A folder that a URL names, as the root of a dataset."""

    url: str
    listed: Mapping[str, MemberStatus] | None = None

    def __truediv__(self, path: str, /) -> RemoteFile:
        known = None if self.listed is None else self.listed.get(path)
        return RemoteFile(f"{self.url}/{path}", known, is_refused=not _stays_below(path))

    def __str__(self) -> str:
        return self.url


def list_folder(url: str) -> tuple[RemoteFolder, list[Row]]:
    """Return the folder of a URL with the status of each file below it, and the names that were refused.

    Raises:
        DatasetError: it cannot be listed, or nothing is there.
        MissingExtraError: the library for the scheme is not installed.
    """
    try:
        with _translated(url):
            found = _filesystem(url).find(url, detail=True)
    except OSError as error:
        raise DatasetError(f"{error}.") from error
    if not found:
        raise _nothing_at(url)
    if len(found) > _MOST_FILES:
        raise DatasetError(f"{url} has more than {_MOST_FILES:,} files.")
    return _listed(url, found)


def list_folder_in_parts(url: str) -> Iterator[tuple[RemoteFolder, list[Row]]]:
    """Yield the same in parts, one for each folder directly below the URL and one for the files there, in order.

    Memory grows with the largest part. Each root knows the files of its part only.

    Raises:
        DatasetError: it cannot be listed, or nothing is there.
        MissingExtraError: the library for the scheme is not installed.
    """
    is_empty = True
    try:
        with _translated(url):
            entries = _filesystem(url).ls(url, detail=True)
        files = {entry["name"]: entry for entry in entries if entry["type"] == "file"}
        folders = sorted(entry["name"] for entry in entries if entry["type"] != "file")
        for folder in ["", *folders]:
            with _translated(url):
                found = _filesystem(url).find(folder, detail=True) if folder else files
            if found:
                is_empty = False
                yield _listed(url, found)
    except OSError as error:
        raise DatasetError(f"{error}.") from error
    if is_empty:
        raise _nothing_at(url)


def _nothing_at(url: str) -> DatasetError:
    return DatasetError(f"{url} does not exist, its server cannot be reached, or no file is below it.")


def _listed(url: str, found: Mapping[str, Any]) -> tuple[RemoteFolder, list[Row]]:
    prefix = url if url.startswith("http") else url.partition("://")[2]
    listed, refused = dict[str, MemberStatus](), list[Row]()
    for name, about in found.items():
        path = member_id(name.removeprefix(f"{prefix}/")) if name.startswith(f"{prefix}/") else None
        if path is None or not name.endswith(f"/{path}") or not _stays_below(path):
            refused.append(Row(name, problem=("its name leaves the folder, or is a query", "outside")))
        elif about.get("type", "file") == "file" and not name.endswith("/"):
            try:
                listed[path] = _status(about, name)
            except OSError:  # a page of links tells no sizes
                listed[path] = MemberStatus(-1)
    known = {path: status for path, status in listed.items() if status.st_size >= 0}
    folder = RemoteFolder(url, known)
    return folder, refused + [Row(path) for path in listed]


def _stays_below(path: str) -> bool:
    """Return whether a server will look for this name below its folder: percent signs may hide `..`."""
    return member_id(path) == path and member_id(unquote(path)) is not None and not any(sign in path for sign in "?#")


def _filesystem(url: str) -> Any:
    scheme = url.partition("://")[0]
    library, extra = _LIBRARIES[scheme]
    fsspec = import_optional("fsspec", "remote")
    import_optional(library, extra)
    return fsspec.filesystem(scheme, use_listings_cache=False)


def _status(about: Mapping[str, Any], url: str) -> MemberStatus:
    """Return what a server tells of a file; raise OSError where it does not tell the size."""
    size = about.get("size")
    if not isinstance(size, int) or size < 0:
        raise OSError(f"{url}: the server does not tell how many bytes it has")
    time = about.get("LastModified") or about.get("updated")
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    moment = int(time.timestamp() * 1_000_000_000) if isinstance(time, datetime) else 0
    tag = about.get("ETag") or about.get("etag") if moment else None
    # a second number that changes with the content, and lies in the past as times of files do
    other = int.from_bytes(hashlib.blake2b(str(tag).encode(), digest_size=6).digest()) if tag else 0
    return MemberStatus(size, moment, other)


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """Turn the errors of the libraries, of which there are many, into OSError without secrets."""
    try:
        yield
    except (LmmClassifierError, KeyboardInterrupt):
        raise
    except FileNotFoundError as error:
        # of a web server that cannot be reached the library says the same
        unless = ", or its server cannot be reached" if url.startswith("http") else ""
        raise FileNotFoundError(f"{url} does not exist{unless}") from error
    except Exception as error:
        text = quote_foreign(str(error)) or type(error).__name__
        raise OSError(f"{url} cannot be read: {text}") from error
