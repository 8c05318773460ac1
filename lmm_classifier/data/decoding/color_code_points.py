"""Color profiles for files that name their colors by code points of ITU-T H.273 instead.

Display P3 and Rec. 2020 with the curve of sRGB are known: cICP in a PNG, and nclx in AVIF and HEIC. Other code points
are sRGB, or video and high dynamic range, for which there is no fixed rule; these are left as they are.
"""

from __future__ import annotations

import struct
from functools import cache

from PIL import Image

_SRGB_CURVE = 13
_COLORANTS = {  # XYZ of red, green and blue under D50, by the code point of the primaries
    9: ((0.673459, 0.279033, -0.001932), (0.165661, 0.675338, 0.029980), (0.125084, 0.045629, 0.796860)),
    12: ((0.515102, 0.241182, -0.001053), (0.291965, 0.692236, 0.041882), (0.157153, 0.066582, 0.784073)),
}
_D50 = (0.9642, 1.0, 0.8249)
_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # of sRGB, as parameters of type 3


def add_profile(image: Image.Image, data: bytes) -> None:
    """Give an image decoded from `data` the profile that its code points stand for.

    In a PNG they count more than an ICC profile, and in AVIF and HEIC less, as the standards of these formats say.
    """
    if image.format == "PNG":
        points = _of_png(data)
    elif image.format in ("AVIF", "HEIF") and not image.info.get("icc_profile"):
        points = _of_boxes(data)
    else:
        return
    if points is not None and points[0] in _COLORANTS and points[1] == _SRGB_CURVE:
        image.info["icc_profile"] = _profile(points[0])


def _of_png(data: bytes) -> tuple[int, int] | None:
    """Return primaries and curve of the chunk cICP, which stands before the pixels."""
    place = data.find(b"\0\0\0\4cICP", 8, max(data.find(b"IDAT"), 0))
    return (data[place + 8], data[place + 9]) if place > 0 else None


def _of_boxes(data: bytes) -> tuple[int, int] | None:
    place = data.find(b"colrnclx", 0, 1 << 16)
    if place < 0 or place + 12 > len(data):
        return None
    primaries, curve = struct.unpack_from(">HH", data, place + 8)
    return primaries, curve


@cache
def _profile(primaries: int) -> bytes:
    """Return an ICC profile of version 4 with a matrix and curves."""
    curve = struct.pack(">4s4xHxx5i", b"para", 3, *map(_fixed, _CURVE))
    contents = {b"wtpt": _xyz(_D50)}
    for channel, colorant in zip("rgb", _COLORANTS[primaries]):
        contents[f"{channel}XYZ".encode()] = _xyz(colorant)
        contents[f"{channel}TRC".encode()] = curve
    entries, body, start = b"", b"", 132 + 12 * len(contents)
    for name, content in contents.items():
        entries += struct.pack(">4sII", name, start + len(body), len(content))
        body += content
    header = struct.pack(">I4xI4s4s4s12x4s", start + len(body), 4 << 24, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    white = bytes(28) + struct.pack(">3i", *map(_fixed, _D50))
    return (header + white).ljust(128, b"\0") + struct.pack(">I", len(contents)) + entries + body


def _xyz(values: tuple[float, ...]) -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *map(_fixed, values))


def _fixed(value: float) -> int:
    return round(value * 65536)
