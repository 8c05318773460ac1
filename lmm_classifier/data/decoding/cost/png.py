"""What decoding a PNG costs: its pixels, its chunks, and its compressed metadata."""

from __future__ import annotations

import struct

from lmm_classifier.data.decoding.bit_depth import MOST_WIDE_PIXELS
from lmm_classifier.data.decoding.cost.estimate import CostEstimate

# seconds, rounded up from measurements
_CHUNK, _BYTE = 7e-6, 5e-9
_RAW_BYTE, _PIXEL, _INTERLACED_PIXEL = 6e-9, 9e-9, 6e-9
_INFLATED_BYTE = 3e-9
_PROFILE_PIXEL = 40e-9
_CLEAR_PIXEL, _CLEAR_GRAY_PIXEL = 8e-9, 24e-9  # of an image with a transparent level or color; gray of 16 bits
# bytes of memory for a pixel; dark colors of 16 bits are read again for their lower bytes, see `bit_depth`
_IN_MEMORY, _GRAY_IN_MEMORY, _CLEAR_GRAY_IN_MEMORY, _DARK_IN_MEMORY = 8, 9, 12, 28

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the color type
_COMPRESSED = (b"zTXt", b"iTXt", b"iCCP")
_MOST_INFLATED = 1 << 20  # Pillow stops there, for each chunk
_RATIO = 1032  # the most that deflate can give for a byte


def add_png(estimate: CostEstimate, data: bytes) -> None:
    """Add the cost of a PNG to `estimate`."""
    place, chunks, inflated, header, has_profile, is_clear = 8, 0, 0, b"", False, False
    while place + 8 <= len(data) and chunks * _CHUNK + inflated * _INFLATED_BYTE <= estimate.max_seconds:
        length, name = struct.unpack_from(">I4s", data, place)
        chunks += 1
        if name == b"IHDR":
            header = data[place + 8 : place + 21]
        elif name in _COMPRESSED:
            has_profile |= name == b"iCCP"
            inflated += min(length * _RATIO, _MOST_INFLATED)
        elif name == b"cICP":
            has_profile = True
        elif name == b"tRNS":
            is_clear = True
        elif name == b"IEND":
            break
        place += 12 + length
    estimate.add(chunks * _CHUNK, "{:,} chunks", chunks)
    estimate.add(inflated * _INFLATED_BYTE, "up to {:,} bytes of compressed metadata", inflated)
    estimate.add(len(data) * _BYTE, "{:,} bytes", len(data))
    if len(header) == 13:
        width, height, depth, color, _, _, interlace = struct.unpack(">IIBBBBB", header)
        estimate.size = (width, height)
        pixels, channels = width * height, _CHANNELS.get(color, 4)
        raw = height * (1 + (width * channels * depth + 7) // 8)
        seconds = raw * _RAW_BYTE + pixels * (_PIXEL + (_INTERLACED_PIXEL if interlace else 0))
        estimate.add(seconds, "{:,} pixels of {} bits", pixels, channels * depth)
        if has_profile:
            estimate.add(pixels * _PROFILE_PIXEL, "{:,} pixels with a color profile", pixels)
        if is_clear:
            estimate.add(pixels * _clear_seconds(depth, color), "{:,} pixels with a transparent color", pixels)
        estimate.memory += _memory(pixels, depth, color, is_clear)


def _clear_seconds(depth: int, color: int) -> float:
    return _CLEAR_GRAY_PIXEL if depth == 16 and color == 0 else _CLEAR_PIXEL


def _memory(pixels: int, depth: int, color: int, is_clear: bool) -> int:
    """Return the bytes of memory that pixels need while they are converted."""
    if depth < 16 or color == 3:
        return _IN_MEMORY * pixels
    if color == 0:
        return (_CLEAR_GRAY_IN_MEMORY if is_clear else _GRAY_IN_MEMORY) * pixels
    return max(_IN_MEMORY * pixels, _DARK_IN_MEMORY * min(pixels, MOST_WIDE_PIXELS))
