"""Scale the values of images with more than 8 bits, so that the whole range of the file becomes the range of gray.

Many programs store values of 8, 10, 12 or 14 bits in files of 16 bits. The range is, in this order:

1. what the file says: the significant bits of a PNG (sBIT), or the bits or the largest value of a TIFF;
2. 16 bits, where every value is one of 8 bits times 256 or 257;
3. the smallest of 8, 10, 12, 14 or 16 bits that holds the largest value.

Fractions have the range 0 to 1, or one of the above where the largest value is 64 or more. All other values are
stretched from their own range.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lmm_classifier.core.errors import CorruptImageError, ImageTooLargeError, UnsupportedImageError

_TOPS = (255, 1023, 4095, 16383, 65535)  # largest values of 8, 10, 12, 14 and 16 bits
_DARK = _TOPS[3] >> 8  # upper byte of the largest value that leaves the range unclear
_LEAST_FRACTION = 64  # fractions with a largest value from 1 to here may be light of any unit, and not gray levels
MOST_WIDE_PIXELS = 12_500_000  # Pillow reads them again for their lower bytes: 0.12 s for a million
_ROWS = 64  # scaled at a time, so that little memory is needed
_BITS, _PHOTOMETRIC, _MAXIMUM, _PLANES, _FORMAT = 258, 262, 281, 284, 339  # tags of TIFF
_WIDE = re.compile("([RGBA]|RGB|RGB[AXa]);16[BLN]")  # raw modes of 16 bits that can be read in both byte orders
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}

Values = NDArray[Any]


def in_full_range(image: Image.Image, data: bytes | None) -> Image.Image:
    """Return an image whose values use the whole range of its mode.

    Args:
        image: a loaded image of any mode.
        data: the bytes of its file; None where only the pixels are known.

    Returns:
        Gray of more than 8 bits as `I;16`, or as `LA` where the file names a transparent level. An image in color
        whose values lie in the lower part of 16 bits, in the same mode. Any other image as it is.

    Raises:
        CorruptImageError: a value is not finite.
        ImageTooLargeError: reading the lower bytes of dark values of 16 bits would take too long.
        UnsupportedImageError: the lower bytes of dark values of 16 bits cannot be read.
    """
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _gray(image, data)
    if data is not None and image.mode in ("RGB", "RGBA") and is_wide(image, data) and _is_unclear(image):
        return _color(image, data)
    return image


def prepare_planes(image: Image.Image) -> None:
    """Let Pillow read planes of 16 bits in a TIFF without compression as such; call it before `load`.

    Pillow takes them for planes of 8 bits and gives wrong pixels.
    """
    if image.format != "TIFF" or _tag(image, _PLANES) != (2,) or 16 not in _tag(image, _BITS):
        return
    file: Any = image
    order = "L" if file.tag_v2.prefix == b"II" else "B"
    tiles: list[Any] = list(file.tile)
    if all(len(_raw_mode(tile)) == 1 for tile in tiles):
        file.tile = [tile._replace(args=_with_raw_mode(tile, f"{_raw_mode(tile)};16{order}")) for tile in tiles]


def is_wide(image: Image.Image, data: bytes) -> bool:
    """Return whether a file of PNG or TIFF has 16 bits for a value."""
    if image.format == "PNG":
        return data[24:25] == b"\x10"
    return image.format == "TIFF" and 16 in _tag(image, _BITS)


def to_bytes(image: Image.Image) -> Image.Image:
    """Return 16-bit gray that uses its whole range as 8-bit gray, and another image as it is."""
    if image.mode != "I;16":
        return image
    levels = np.rint(np.arange(65536) / 257).astype(np.uint8)
    return _image(levels[np.asarray(image)], image)


def _gray(image: Image.Image, data: bytes | None) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "I" and image.format == "TIFF" and _tag(image, _FORMAT) == (1,):
        values = values.view(np.uint32)  # Pillow has no unsigned mode of this size
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise CorruptImageError("gray values that are not finite")
    if values.dtype.kind != "f" and low >= 0 and high <= 65535:
        top = _top(values, _bits(image, data))
        scaled = _scale(top)[values]
    else:
        scaled = _stretched(values, *_range(low, high, values.dtype.kind))
    if _is_inverted(image):
        scaled = 65535 - scaled
    wide = _image(scaled, image)
    level = wide.info.pop("transparency", None)
    if not isinstance(level, int) or image.mode == "F":
        return wide
    return Image.merge("LA", (to_bytes(wide), _opaque_where(values != level)))


def _color(image: Image.Image, data: bytes) -> Image.Image:
    """Return an image with 16 bits a value in the range that they use; Pillow gives the upper bytes only."""
    if image.width * image.height > MOST_WIDE_PIXELS:
        raise ImageTooLargeError(
            f"{image.width} x {image.height} dark pixels of 16 bits a color, at most {MOST_WIDE_PIXELS:,} are read: "
            "save it again with 8 bits a color"
        )
    values = _wide_values(data)
    key = image.info.get("transparency")
    colors, bits = values[..., :3], _bits(image, data)
    scale = _scale(_top(colors, bits))
    scaled = [to_bytes(_image(scale[colors[..., band]], image)) for band in range(3)]
    if image.mode == "RGBA":
        scaled.append(to_bytes(_image(_scale(_top(values[..., 3], bits))[values[..., 3]], image)))
    elif isinstance(key, tuple):
        scaled.append(_opaque_where((colors != key).any(axis=-1)))
    merged = Image.merge("RGBA" if len(scaled) == 4 else "RGB", scaled)
    merged.info.update({name: value for name, value in image.info.items() if name != "transparency"})
    return merged


def _is_unclear(image: Image.Image) -> bool:
    """Return whether colors or alpha are so low that they may have fewer bits; `image` has the upper bytes."""
    extrema: Any = image.getextrema()
    highest = [high for _, high in extrema]
    is_low = max(highest[:3]) <= _DARK or (image.mode == "RGBA" and highest[3] <= _DARK)
    return is_low or isinstance(image.info.get("transparency"), tuple)


def _wide_values(data: bytes) -> Values:
    """Return values (h, w, 3 or 4) of 16 bits; raises UnsupportedImageError where their lower bytes cannot be read."""
    with _opened(data) as image:
        names = {_raw_mode(tile) for tile in image.tile}
        packed_planes = _tag(image, _PLANES) == (2,) and any(tile.codec_name == "libtiff" for tile in image.tile)
    if names == {"LA;16B"}:
        found = _loaded(data, lambda _: "RGBA")  # the upper and the lower byte of both values
        gray, alpha = found[..., 0] << 8 | found[..., 1], found[..., 2] << 8 | found[..., 3]
        return np.stack([gray, gray, gray, alpha], axis=-1)
    if packed_planes or not all(_WIDE.fullmatch(name) for name in names):
        raise UnsupportedImageError(
            "its values may have fewer than 16 bits, and they are in compressed planes; store the colors interleaved"
        )
    upper = _loaded(data, lambda name: name.replace("RGBa", "RGBA"))
    lower = _loaded(data, lambda name: name.replace("RGBa", "RGBA")[:-1] + _OTHER_BYTE[name[-1]])
    values = upper << 8 | lower
    if any(name.startswith("RGBa") for name in names):  # colors were multiplied by alpha
        alpha = np.maximum(values[..., 3:], 1).astype(np.uint32)
        values[..., :3] = np.minimum(values[..., :3] * np.uint32(values[..., 3].max()) // alpha, 65535)
    return values


def _loaded(data: bytes, rename: Callable[[str], str]) -> Values:
    """Return the pixels of a file whose values are read by other raw modes: (h, w, bands)."""
    with _opened(data) as image:
        tiles: list[Any] = list(image.tile)
        image.tile = [tile._replace(args=_with_raw_mode(tile, rename(_raw_mode(tile)))) for tile in tiles]
        image.load()
        return np.asarray(image).astype(np.uint16)


def _opened(data: bytes) -> Any:
    image = Image.open(BytesIO(data), formats=("PNG", "TIFF"))
    prepare_planes(image)
    return image


def _raw_mode(tile: Any) -> str:
    return str(tile.args if isinstance(tile.args, str) else tile.args[0])


def _with_raw_mode(tile: Any, name: str) -> Any:
    return name if isinstance(tile.args, str) else (name, *tile.args[1:])


def _top(values: Values, bits: int | None) -> int:
    """Return the largest value of the range that `values`, from 0 to 65535, use; the file says `bits`, or None."""
    high = int(values.max())
    if bits == 16 or high > _TOPS[3]:
        return 65535
    if bits is not None and high < 1 << bits:
        return (1 << bits) - 1 if (values % (1 << 16 - bits)).any() else 65535  # they may be shifted as PNG wants it
    if not (values % 257).any() or not (values % 256).any():
        return 65535
    return next(top for top in _TOPS if high <= top)


def _range(low: float, high: float, kind: str) -> tuple[float, float]:
    """Return the values that become black and white, of fractions (kind `f`) or of integers that need over 16 bits."""
    if kind != "f" or low < 0 or 1 < high < _LEAST_FRACTION or high > 65535:
        return low, high
    return 0.0, 1.0 if high <= 1 else float(next(top for top in _TOPS if high <= top))


def _bits(image: Image.Image, data: bytes | None) -> int | None:
    """Return how many bits of a value count by the words of the file, 8 to 16; None where it says nothing usable."""
    if data is not None and image.format == "PNG":
        said = max(_significant_bits(data), default=0)
    elif image.format == "TIFF":
        bits, maximum = max(_tag(image, _BITS), default=0), max(_tag(image, _MAXIMUM), default=0)
        said = bits if bits < 16 else maximum.bit_length() if maximum & (maximum + 1) == 0 else 0
    else:
        return None
    return said if 8 <= said <= 16 else None


def _significant_bits(data: bytes) -> Iterator[int]:
    """Yield the numbers of the chunk sBIT of a PNG, without those of alpha."""
    place = 8
    while place + 8 <= len(data):
        length, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        if name == b"IDAT":
            return
        if name == b"sBIT":
            yield from data[place + 8 : place + 8 + length][: 3 if length >= 3 else 1]
            return
        place += 12 + length


def _is_inverted(image: Image.Image) -> bool:
    """Return whether 0 is white in a TIFF, which Pillow applies to 8 bits only."""
    return image.format == "TIFF" and _tag(image, _PHOTOMETRIC) == (0,)


def _tag(image: Image.Image, number: int) -> tuple[int, ...]:
    """Return the numbers of a tag of TIFF; empty where it is missing or has other values."""
    value = getattr(image, "tag_v2", {}).get(number, ())
    found = value if isinstance(value, tuple) else (value,)
    return found if all(isinstance(number, int) for number in found) else ()


def _scale(top: int) -> NDArray[np.uint16]:
    """Return the 16-bit value of each value up to 65535, if `top` is to become white: (65536,)."""
    levels: NDArray[np.uint16] = np.rint(np.arange(65536) * (65535 / top)).clip(0, 65535).astype(np.uint16)
    return levels


def _stretched(values: Values, low: float, high: float) -> NDArray[np.uint16]:
    scaled = np.empty(values.shape, np.uint16)
    factor = 65535 / max(high - low, 1e-300)
    for start in range(0, len(values), _ROWS):
        rows = values[start : start + _ROWS].astype(np.float64)
        scaled[start : start + _ROWS] = np.rint((rows - low) * factor).clip(0, 65535)
    return scaled


def _opaque_where(mask: NDArray[np.bool_]) -> Image.Image:
    """Return an alpha band of a mask; it needs one byte a pixel, since a mask of a large image is large."""
    return Image.fromarray(mask.view(np.uint8) * np.uint8(255))


def _image(values: Values, like: Image.Image) -> Image.Image:
    image = Image.fromarray(values)
    image.info.update(like.info)
    return image
