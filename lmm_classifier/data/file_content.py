"""Read a file within the limits, as fast as small images need it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lmm_classifier.core.errors import (
    ImageError,
    ImageTooLargeError,
    LmmClassifierError,
    UnreadableImageError,
)
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.places import Place

# opening a pipe or a device could wait for ever without O_NONBLOCK
_READ = os.O_RDONLY
for _flag in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY", "O_CLOEXEC"):
    _READ |= getattr(os, _flag, 0)


def read_bytes(place: Place, limits: ImageLimits) -> bytes:
    """Return the bytes of a regular file, or those at any other place, within the limits; raises ImageError."""
    try:
        if not isinstance(place, Path):
            return _read_place(place, limits.max_bytes)
        handle = os.open(place, _READ)
        try:
            return _read_all(handle, limits.max_bytes)
        finally:
            os.close(handle)
    except (OSError, ValueError, LmmClassifierError) as error:
        if isinstance(error, ImageError):
            raise
        reason = error.strerror if isinstance(error, OSError) else None
        raise UnreadableImageError(reason.lower() if reason else str(error)) from error


def _read_place(place: Place, most: int) -> bytes:
    """Read a place after its size was checked; what it gives is checked too."""
    size = place.stat().st_size
    if size > most:
        raise ImageTooLargeError(f"{size:,} bytes, at most {most:,} are read")
    data = place.read_bytes()
    if len(data) > most:
        raise ImageTooLargeError(f"more than {most:,} bytes, at most {most:,} are read")
    return data


def _read_all(handle: int, most: int) -> bytes:
    """Read an open file; more than `most` bytes are refused, also where the file grows meanwhile."""
    status = os.fstat(handle)
    size = status.st_size
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImageError("not a regular file")
    if size > most:
        raise ImageTooLargeError(f"{size:,} bytes, at most {most:,} are read")
    data = os.read(handle, size + 1)
    while len(data) <= most and (more := os.read(handle, 1 << 20) if len(data) != size else b""):
        data += more
    if len(data) > most:
        raise ImageTooLargeError(f"more than {most:,} bytes, at most {most:,} are read")
    return data
