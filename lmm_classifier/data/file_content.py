"""Read a file within the limits, as fast as small images need it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lmm_classifier.core.errors import ImageError, ImageTooLargeError, UnreadableImageError
from lmm_classifier.data.limits import ImageLimits

# a pipe or a device that replaces the file meanwhile must not block
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def read_bytes(path: Path, limits: ImageLimits) -> bytes:
    """Return the bytes of a regular file within the limits; raises ImageError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe or a device could wait for ever
            raise UnreadableImageError("not a regular file")
        handle = os.open(path, _READ)
        try:
            return _read_all(handle, limits.max_bytes)
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UnreadableImageError(reason.lower()) from error


def _read_all(handle: int, most: int) -> bytes:
    """Read an open file; more than `most` bytes are refused, also where the file grows meanwhile."""
    size = os.fstat(handle).st_size
    if size > most:
        raise ImageTooLargeError(f"{size:,} bytes, at most {most:,} are read")
    data = os.read(handle, size + 1)
    while len(data) <= most and (more := os.read(handle, 1 << 20) if len(data) != size else b""):
        data += more
    if len(data) > most:
        raise ImageTooLargeError(f"more than {most:,} bytes, at most {most:,} are read")
    return data
