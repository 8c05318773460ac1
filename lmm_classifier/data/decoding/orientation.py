"""Read the EXIF orientation, and nothing else, so that hostile metadata costs nothing."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

ORIENTATION = 0x0112  # EXIF tag
_PREFIX = b"Exif\0\0"
_HEADERS = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*")  # the last two are written by faulty programs
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_MOST_XMP = 1 << 20  # bytes that are searched


def exif_orientation(exif: bytes) -> int | None:
    r"""Return the orientation (1 to 8) that EXIF data states, None where it states none.

    Example:
        >>> exif_orientation(b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0")
        6
    """
    number = 0
    for order, tag, kind, _, value in _entries(exif):
        if tag == ORIENTATION and kind in (3, 4):
            (number,) = struct.unpack(order + "H", value[:2]) if kind == 3 else struct.unpack(order + "I", value)
    return number if 1 <= number <= 8 else None


def xmp_orientation(xmp: bytes | str) -> int | None:
    """Return the orientation that XMP data states, None where it states none."""
    data = xmp[:_MOST_XMP]
    match = _XMP.search(data.encode("utf-8", "replace") if isinstance(data, str) else data)
    return int(match[1]) if match else None


def exif_bytes(exif: bytes) -> int:
    """Return how many bytes a reader of all entries copies; entries may overlap, so that it can be far more than given.

    An entry that lies outside of the data copies nothing.
    """
    total = 0
    for order, _, kind, count, value in _entries(exif):
        size = _SIZES.get(kind, 0) * count
        (place,) = struct.unpack(order + "I", value)
        if 4 < size <= len(exif) - place:
            total += size
    return total


def _entries(exif: bytes) -> Iterator[tuple[str, int, int, int, bytes]]:
    """Yield byte order, tag, type, count and value of each entry of the first directory."""
    start = 0
    while exif.startswith(_PREFIX, start):
        start += len(_PREFIX)
    if exif[start : start + 4] not in _HEADERS or len(exif) < start + 8:
        return
    order = "<" if exif.startswith(b"II", start) else ">"
    place = start + int(struct.unpack_from(order + "I", exif, start + 4)[0])
    if place + 2 > len(exif):
        return
    (count,) = struct.unpack_from(order + "H", exif, place)
    for entry in range(place + 2, min(place + 2 + 12 * count, len(exif) - 11), 12):
        yield order, *struct.unpack_from(order + "HHI4s", exif, entry)
