"""Where the bytes of images are: a root gives a place for each id, whatever kind of source it is.

`pathlib.Path` is a root and a place. Members of archives, rows of tables, objects of a cloud and parts of images are
places of `lmm_classifier.data.readers`.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from lmm_classifier.core.errors import LmmClassifierError

_FILE = stat.S_IFREG | 0o644


class FileStatus(Protocol):
    """What is known of bytes before they are read; `os.stat_result` has all of it."""

    @property
    def st_mode(self) -> int:
        """The type of the file."""

    @property
    def st_size(self) -> int:
        """The number of bytes."""

    @property
    def st_mtime_ns(self) -> int:
        """A time that changes when the bytes do; 0 where none is known."""

    @property
    def st_ctime_ns(self) -> int:
        """A second such time; 0 where none is known."""


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """The status of bytes that are no file of their own; the times are those of the file that holds them."""

    st_size: int
    st_mtime_ns: int = 0
    st_ctime_ns: int = 0
    st_mode: int = _FILE


@runtime_checkable
class Place(Protocol):
    """The bytes of one image. Its text names it in messages and results."""

    def stat(self) -> FileStatus:
        """Return the size and the times; raise OSError where there is nothing."""

    def read_bytes(self) -> bytes:
        """Return the bytes, at most as many as `stat` says; raise OSError where they cannot be read."""


class Root(Protocol):
    """A dataset that can be opened again: `root / id` is the place of an example. It reads nothing by itself."""

    def __truediv__(self, path: str, /) -> Place:
        """Return the place of an id."""


NOWHERE = Path(os.devnull, "vector")  # a path in it names what has no image, since nothing can be there


def is_nowhere(place: Place) -> bool:
    """Return whether a place only names what has no image, such as a vector."""
    return isinstance(place, Path) and place.is_relative_to(NOWHERE)


def exists(place: Place) -> bool:
    """Return whether there is something at a place; False too where that cannot be told."""
    try:
        return stat.S_ISREG(place.stat().st_mode)
    except (OSError, ValueError, LmmClassifierError):
        return False


def file_name(place: Place) -> str:
    """Return the last part of the name of a place."""
    return place.name if isinstance(place, Path) else str(place).rpartition("/")[2]
