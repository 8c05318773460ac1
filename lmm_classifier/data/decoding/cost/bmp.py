"""What decoding a BMP costs: its pixels, and its run lengths."""

from __future__ import annotations

import struct

from lmm_classifier.data.decoding.cost.estimate import CostEstimate

_PIXEL, _BYTE = 12e-9, 2e-9  # seconds
_RUN_LENGTH_BYTE = 0.8e-6  # Pillow reads them in Python


def add_bmp(estimate: CostEstimate, data: bytes) -> None:
    """Add the cost of a BMP to `estimate`."""
    if len(data) < 34:
        return
    (header,) = struct.unpack_from("<I", data, 14)
    compression = 0
    if header == 12:  # the oldest form, with short numbers
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
        (compression,) = struct.unpack_from("<I", data, 30)
    estimate.size = (abs(width), abs(height))
    pixels = estimate.size[0] * estimate.size[1]
    estimate.add(pixels * _PIXEL + len(data) * _BYTE, "{:,} pixels in {:,} bytes", pixels, len(data))
    if compression in (1, 2):
        estimate.add(len(data) * _RUN_LENGTH_BYTE, "{:,} bytes of run lengths", len(data))
        estimate.memory += 2 * pixels  # Pillow collects them before they become an image
    estimate.memory += 8 * pixels
