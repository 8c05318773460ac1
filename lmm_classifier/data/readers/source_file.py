"""The file that holds a dataset, on this disk or elsewhere: read as a whole, or a part of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.places import FileStatus


class SourceFile(Protocol):
    """A file that can be read in parts. Each call opens it anew, so threads and forks share nothing."""

    def stat(self) -> FileStatus:
        """Return its size and times; raise OSError where it is gone."""

    def open(self) -> BinaryIO:
        """Open it for reading; the file can be searched."""

    def read_range(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start`, fewer at the end."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on this disk."""

    path: Path

    def stat(self) -> FileStatus:
        """Return its size and times."""
        return self.path.stat()

    def open(self) -> BinaryIO:
        """Open it for reading."""
        return self.path.open("rb")

    def read_range(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start`, fewer at the end."""
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(size)

    def __str__(self) -> str:
        return str(self.path)


def unreadable(source: object, error: OSError) -> DatasetError:
    """Return the error for a source that cannot be read now."""
    if error.errno is None:  # of a server, whose errors name the URL
        return DatasetError(f"{error}." if str(source) in str(error) else f"{source} cannot be read: {error}.")
    reason = "it does not exist" if isinstance(error, FileNotFoundError) else error.strerror
    return DatasetError(f"{source} cannot be read: {reason}.")
