"""Files that a strict decoder refuses although all pixels are there, written again without the defect.

- A JPEG without its end marker, if all the compressed data is there.
- A PNG whose notes (text, time, profile) are damaged or too large; its pixels are in chunks of their own.
- A WebP without the padding byte of its last chunk.
"""

from __future__ import annotations

import zlib

from lmm_classifier.data.decoding.jpeg_headers import has_end
from lmm_classifier.data.decoding.jpeg_scans import is_complete

_END = b"\xff\xd9"
_PNG = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS")
_NOTES = (b"cICP", b"iCCP", b"eXIf", b"sBIT")  # they change how pixels are read
_NOTE_BYTES = 1 << 20  # Pillow refuses larger ones


def without_defect(data: bytes) -> bytes | None:
    """Return a file that was refused without its defect, or None if it has none of the above."""
    if data.startswith(_PNG):
        return _png_without_notes(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _padded_webp(data)
    return None


def with_end(data: bytes) -> bytes | None:
    """Return a file as it is or, a JPEG without its end marker, with one; None if any of its pixels are missing too.

    Decoders read zeros after truncated data, such as those of a download that was broken off, as pixels.
    """
    if not data.startswith(b"\xff\xd8\xff") or data.endswith(_END) or data.rfind(_END) > data.rfind(b"\xff\xda"):
        return data
    if has_end(data):
        return data
    body = data
    if data.endswith(b"\0\0"):
        body = data.rstrip(b"\0")
        body += b"\0" if body.endswith(b"\xff") else b""  # that zero belongs to the data
    body = body.removesuffix(b"\xff")  # the first byte of the marker may be there
    return body + _END if is_complete(body) else None


# WebP --------------------------------------------------------------------------------------------------------------


def _padded_webp(data: bytes) -> bytes | None:
    """Return a WebP with the padding after a last chunk of odd size; None if something else is wrong with its size."""
    place, length = 12, 0
    while place + 8 <= len(data):
        length = int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8 + length + length % 2
    return data + b"\0" if length % 2 == 1 and place == len(data) + 1 else None


# PNG ---------------------------------------------------------------------------------------------------------------


def _png_without_notes(data: bytes) -> bytes | None:
    """Return a PNG with its pixels and its whole notes only; None if nothing is left out.

    A damaged chunk of pixels stays as it is, so that the decoder refuses it.
    """
    parts, place = [_PNG], 8
    while place + 12 <= len(data):
        length, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        chunk = data[place : place + 12 + length]
        whole = len(chunk) == 12 + length and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        if name in _PIXEL_CHUNKS or (name in _NOTES and whole and _is_usable(name, chunk)):
            parts.append(chunk)
        place += len(chunk)
    rest = b"".join([*parts, data[place:]])
    return rest if len(rest) < len(data) else None


def _is_usable(name: bytes, chunk: bytes) -> bool:
    if name != b"iCCP":
        return True
    content = chunk[8:-4].partition(b"\0")[2]  # a method, which must be 0, and the compressed profile
    unpacked = zlib.decompressobj()
    try:
        unpacked.decompress(content[1:], _NOTE_BYTES)
    except zlib.error:
        return False
    return content[:1] == b"\0" and not unpacked.unconsumed_tail
