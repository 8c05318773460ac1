"""Files that workers on several machines share, in a folder or on an object store: written whole, once."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lmm_classifier.core.errors import ConfigError, OutputError
from lmm_classifier.core.files import sync_to_disk, umask
from lmm_classifier.core.optional_imports import import_optional
from lmm_classifier.core.paths import absolute, expand_home
from lmm_classifier.core.redaction import quote_foreign
from lmm_classifier.data.readers.urls import checked_url, is_url

_LIBRARIES = {"s3": ("s3fs", "remote"), "gs": ("gcsfs", "gcs")}  # schemes that can be written
_TEMPORARY = ".lmm-classifier-"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file: its name below the place of all files, its size in bytes, and the time of its last change (seconds)."""

    name: str
    size: int
    time: float


class SharedFiles(Protocol):
    """Files by names such as `chunks/3f/3fa0.parquet`. Several processes and machines may use them at once."""

    def put(self, name: str, data: bytes) -> bool:
        """Write a file unless it is there; return whether this call wrote it.

        The file appears whole or not at all. False says that a file of this name is there, whoever wrote it.
        """

    def read(self, name: str) -> bytes:
        """Return the bytes of a file; raise FileNotFoundError where there is none."""

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""

    def entries(self, folder: str) -> Iterator[FileEntry]:
        """Yield the files below a folder, in any order; nothing where there is no such folder."""

    def unfinished(self, folder: str) -> Iterator[FileEntry]:
        """Yield what writers that ended before `put` did left below a folder. A writer at work has such a file too."""

    def delete(self, name: str) -> None:
        """Delete a file; do nothing where there is none."""


def open_shared_files(place: str) -> SharedFiles:
    """Return the files at a folder or a URL; nothing is read or made yet.

    Raises:
        ConfigError: files cannot be written to URLs of this scheme.
        MissingExtraError: the library for the scheme is not installed.

    Example:
        >>> from lmm_classifier.distributed.shared_files import open_shared_files
        >>> files = open_shared_files("shared")
        >>> files.put("chunks/first", b"rows"), files.put("chunks/first", b"other")
        (True, False)
        >>> files.read("chunks/first")
        b'rows'
    """
    if not is_url(place):
        return LocalFiles(absolute(expand_home(Path(place))))
    url = checked_url(place)
    scheme = url.partition("://")[0]
    if scheme not in _LIBRARIES:
        raise ConfigError(f"{url} cannot be written. Expected a folder, or a URL that begins with s3:// or gs://.")
    library, extra = _LIBRARIES[scheme]
    import_optional("fsspec", "remote")
    import_optional(library, extra)
    return ObjectFiles(url)


@dataclass(frozen=True)
class LocalFiles:
    """Files in a folder of this machine, or in one that several machines mount."""

    folder: Path

    def put(self, name: str, data: bytes) -> bool:
        """Write a temporary file and link it to its name, which fails where the name is taken."""
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=_TEMPORARY, suffix=".tmp", dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.chmod(temporary, 0o666 & ~umask())  # noqa: PTH101 - mkstemp makes it private
                os.link(temporary, path)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(temporary)  # noqa: PTH108
            sync_to_disk(path.parent)
        except FileExistsError:
            return False
        except OSError as error:
            raise OutputError(f"Cannot write {path}: {error.strerror or error}. Nothing is lost: run again.") from error
        return True

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""
        return (self.folder / name).read_bytes()

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        return (self.folder / name).is_file()

    def entries(self, folder: str) -> Iterator[FileEntry]:
        """Yield the files below a folder; temporary files of writers are none."""
        return self._below(folder, are_temporary=False)

    def unfinished(self, folder: str) -> Iterator[FileEntry]:
        """Yield the temporary files of writers below a folder."""
        return self._below(folder, are_temporary=True)

    def _below(self, folder: str, *, are_temporary: bool) -> Iterator[FileEntry]:
        for path, _, names in os.walk(self.folder / folder):
            for name in names:
                file = Path(path) / name
                if name.startswith(_TEMPORARY) == are_temporary:
                    with suppress(FileNotFoundError):  # deleted meanwhile
                        status = file.stat()
                        yield FileEntry(file.relative_to(self.folder).as_posix(), status.st_size, status.st_mtime)

    def delete(self, name: str) -> None:
        """Delete a file."""
        (self.folder / name).unlink(missing_ok=True)


@dataclass(frozen=True)
class ObjectFiles:
    """Objects of a store. Credentials and the address of the server come from the environment, as for `s3fs`."""

    url: str

    def put(self, name: str, data: bytes) -> bool:
        """Write an object on the condition that there is none.

        A server may write an object and still answer with an error. The library asks again and is told that the object
        is there. So False is no failure: the name says what the object is made of.
        """
        try:
            self._store().pipe_file(self._key(name), data, mode="create")
        except FileExistsError:
            return False
        except Exception as error:
            if self.exists(name):  # the answer was lost, not the object
                return False
            raise self._error(name, error) from error
        return True

    def read(self, name: str) -> bytes:
        """Return the bytes of an object."""
        try:
            return bytes(self._store().cat_file(self._key(name)))
        except FileNotFoundError:
            raise
        except Exception as error:
            raise self._error(name, error) from error

    def exists(self, name: str) -> bool:
        """Return whether there is an object of this name."""
        try:
            return bool(self._store().exists(self._key(name)))
        except Exception as error:
            raise self._error(name, error) from error

    def entries(self, folder: str) -> Iterator[FileEntry]:
        """Yield the objects below a folder, one folder of the store after the other."""
        store, start = self._store(), len(self._key("")) - len("s3://")
        folders = [self._key(folder)]
        while folders:
            try:
                found = store.ls(folders.pop(), detail=True)
            except FileNotFoundError:
                continue
            except Exception as error:
                raise self._error(folder, error) from error
            for entry in found:
                if entry["type"] == "directory":
                    folders.append(entry["name"])
                elif not entry["name"].endswith("/"):
                    changed = entry.get("LastModified") or entry.get("updated")
                    seconds = changed.timestamp() if hasattr(changed, "timestamp") else time.time()
                    yield FileEntry(entry["name"][start:], int(entry["size"]), seconds)

    def unfinished(self, folder: str) -> Iterator[FileEntry]:  # noqa: ARG002
        """Yield nothing: an object appears whole, and the store itself ends uploads that nobody continues."""
        return iter(())

    def delete(self, name: str) -> None:
        """Delete an object."""
        with suppress(FileNotFoundError):
            self._store().rm_file(self._key(name))

    def _key(self, name: str) -> str:
        return f"{self.url}/{name}"

    def _store(self) -> Any:
        fsspec = import_optional("fsspec", "remote")
        return fsspec.filesystem(self.url.partition("://")[0], use_listings_cache=False)

    def _error(self, name: str, error: Exception) -> OutputError:
        text = quote_foreign(str(error)) or type(error).__name__
        return OutputError(f"{self._key(name)}: {text}. What was written stays: run the same command again.")
