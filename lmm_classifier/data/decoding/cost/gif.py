"""What decoding the first frame of a GIF costs: its pixels, and the blocks before it."""

from __future__ import annotations

import struct

from lmm_classifier.data.decoding.cost.estimate import CostEstimate

_BLOCK, _JUNK_BYTE = 1.5e-6, 0.3e-6  # seconds; Pillow reads them in Python
_BYTE, _PIXEL = 8e-9, 22e-9


def add_gif(estimate: CostEstimate, data: bytes) -> None:
    """Add the cost of the first frame of a GIF to `estimate`."""
    if len(data) < 13:
        return
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    reader = _Blocks(data, 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0))
    junk = 0
    while reader.place < len(data) and reader.blocks * _BLOCK + junk * _JUNK_BYTE <= estimate.max_seconds:
        introducer = data[reader.place]
        reader.place += 1
        if introducer == 0x21:
            reader.skip_extension(estimate.max_seconds)
        elif introducer == 0x2C:
            if reader.place + 8 <= len(data):
                left, top, across, down = struct.unpack_from("<HHHH", data, reader.place)
                width, height = max(width, left + across), max(height, top + down)
            break
        elif introducer == 0x3B:
            break
        else:
            junk += 1
    estimate.add(reader.blocks * _BLOCK, "{:,} blocks before the first frame", reader.blocks)
    estimate.add(junk * _JUNK_BYTE, "{:,} unknown bytes before the first frame", junk)
    estimate.size = (width, height)
    pixels = width * height
    estimate.add(pixels * _PIXEL + len(data) * _BYTE, "{:,} pixels in {:,} bytes", pixels, len(data))
    estimate.memory += 8 * pixels


class _Blocks:
    """Reads the blocks of extensions as Pillow does, also where they are malformed."""

    def __init__(self, data: bytes, place: int) -> None:
        self._data, self.place, self.blocks = data, place, 0

    def skip_extension(self, max_seconds: float) -> None:
        """Skip an extension whose introducer was read."""
        kind = self._data[self.place : self.place + 1]
        self.place += 1
        block = self._next()
        if kind == b"\xff" and block.startswith(b"NETSCAPE2.0"):
            self._next()
        if kind != b"\xfe" or block:  # only an empty comment ends here
            while self._next() and self.blocks * _BLOCK <= max_seconds:
                pass

    def _next(self) -> bytes:
        """Return the next block, empty at the end."""
        self.blocks += 1
        size = self._data[self.place] if self.place < len(self._data) else 0
        block = self._data[self.place + 1 : self.place + 1 + size]
        self.place += 1 + size
        return block
