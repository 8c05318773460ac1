"""Convert pixels with an embedded ICC profile to sRGB, with LittleCMS through Pillow's ImageCms.

The intent is relative colorimetric with black point compensation. White becomes white, and black becomes black. A color
that sRGB cannot show becomes one at its border. Pixels without a profile count as sRGB.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from collections import OrderedDict
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, features

from lmm_classifier.core.errors import UnsupportedImageError
from lmm_classifier.data.decoding.bit_depth import to_bytes

_MAX_BYTES = 16 << 20  # of a profile; the largest ones of printers have about 9 MB
_CLASSES = (b"scnr", b"mntr", b"prtr", b"spac")  # profiles of other classes do not describe an image
_FLOAT_TAGS = (b"D2B", b"B2D")  # programs of any length; a profile has tables or curves for the same as well
_SAME = 1  # of 255: a profile that changes colors by no more is sRGB under another name
_FLAT = 32  # of 255: a profile whose lightest and darkest color differ by less is broken
_CACHED = 32  # transforms that are kept; one of CMYK takes about 1 MB
_GRAY_MODES = ("1", "L", "LA", "La", "I;16")

_lock = threading.Lock()
_transforms: OrderedDict[tuple[bytes, str], Any] = OrderedDict()


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert an image by the profile in `image.info["icc_profile"]`; the given image is not changed.

    Returns:
        A new image in RGB or RGBA. The given image itself where nothing is to be converted: it has no profile, the
        profile is that of sRGB, or the profile is broken or does not describe such pixels.

    Raises:
        UnsupportedImageError: Pillow was built without LittleCMS, and the image has a profile.
    """
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not 128 < len(profile) <= _MAX_BYTES or profile[12:16] not in _CLASSES:
        return image
    layer = to_rgba(image) if has_alpha(image) else image
    pixels = _described_by(profile[16:20], layer, image.mode)
    transform = None if pixels is None else _transform(profile, pixels.mode)
    if pixels is None or transform is None:
        return image
    converted = _applied(transform, pixels)
    if layer.mode == "RGBA":
        converted.putalpha(layer.getchannel("A"))
    return converted


def lab_to_rgb(image: Image.Image) -> Image.Image:
    """Convert a LAB image (white point D50) to RGB; raises UnsupportedImageError where LittleCMS is missing."""
    return _applied(_lab_transform(), image)


def has_alpha(image: Image.Image) -> bool:
    """Return whether pixels of an image may be transparent."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def to_rgba(image: Image.Image) -> Image.Image:
    """Return an image that has alpha as RGBA."""
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def _described_by(space: bytes, layer: Image.Image, mode: str) -> Image.Image | None:
    """Return the pixels of `layer` as a profile of this color space describes them; None where it does not.

    Gray pixels lie on the neutral axis of a profile of RGB. RGB pixels with three equal bands are gray.
    """
    if space == b"CMYK":
        return layer if mode == "CMYK" else None
    if mode in ("CMYK", "LAB"):
        return None
    if space == b"RGB ":
        return layer if layer.mode == "RGB" else to_bytes(layer).convert("RGB")
    if space != b"GRAY":
        return None
    if mode in _GRAY_MODES:
        return layer if layer.mode == "I;16" else layer.convert("RGB").getchannel(0)
    red, green, blue = layer.convert("RGB").split()
    return red if red.tobytes() == green.tobytes() == blue.tobytes() else None


def _applied(transform: Any, image: Image.Image) -> Image.Image:
    return transform.apply(image)  # type: ignore[no-any-return]


def _transform(profile: bytes, mode: str) -> Any:
    """Return the transform from a profile to sRGB, or None where it is not to be used; made once for each profile."""
    key = hashlib.blake2b(profile, digest_size=20).digest(), mode
    with _lock:
        if key in _transforms:
            _transforms.move_to_end(key)
            return _transforms[key]
    transform = _new_transform(profile, mode)
    with _lock:
        _transforms[key] = transform
        while len(_transforms) > _CACHED:
            _transforms.popitem(last=False)
    return transform


def _new_transform(profile: bytes, mode: str) -> Any:
    cms = _image_cms()
    try:
        source = cms.ImageCmsProfile(BytesIO(_without_float_tags(profile)))
        transform = _GrayTable(_built(source, "I;16")) if mode in ("L", "I;16") else _built(source, mode)
        probe = _probe(mode)
        found = np.asarray(_applied(transform, probe)).astype(int)
    except (cms.PyCMSError, OSError, ValueError, TypeError, struct.error):
        return None  # a broken profile is no reason to refuse good pixels
    if np.ptp(found) < _FLAT or (mode == "RGB" and np.abs(found - np.asarray(probe)).max() <= _SAME):
        return None
    return transform


def _built(source: Any, mode: str) -> Any:
    """Return a transform to sRGB that threads may share."""
    cms = _image_cms()
    # without its cache of one pixel, LittleCMS only reads a transform while it converts
    flags = cms.Flags.BLACKPOINTCOMPENSATION | cms.Flags.NOCACHE | cms.Flags.HIGHRESPRECALC
    if mode == "I;16":
        flags |= cms.Flags.NOOPTIMIZE  # it makes dark gray of a linear profile wrong by 6 of 255
    intent = cms.Intent.RELATIVE_COLORIMETRIC
    srgb = cms.ImageCmsProfile(cms.createProfile("sRGB"))
    return cms.ImageCmsTransform(source, srgb, mode, "RGB", intent, flags=flags)


class _GrayTable:
    """The color of each level of gray, as a transform gives it."""

    def __init__(self, transform: Any) -> None:
        levels = np.arange(65536, dtype=np.uint16)[None]
        self._colors = np.asarray(transform.apply(Image.fromarray(levels)))[0]

    def apply(self, image: Image.Image) -> Image.Image:
        colors = self._colors[::257] if image.mode == "L" else self._colors
        return Image.fromarray(colors[np.asarray(image)])


@cache
def _lab_transform() -> Any:
    cms = _image_cms()
    return _built(cms.ImageCmsProfile(cms.createProfile("LAB")), "LAB")


@cache
def _probe(mode: str) -> Image.Image:
    """Return an image with colors of the whole range of a mode."""
    if mode == "I;16":
        return Image.fromarray(np.linspace(0, 65535, 256).astype(np.uint16)[None])
    bands = len(Image.new(mode, (1, 1)).getbands())
    levels = np.linspace(0, 255, {1: 256, 3: 9, 4: 5}[bands]).astype(np.uint8)
    colors = np.stack(np.meshgrid(*[levels] * bands), axis=-1).reshape(-1, bands)
    return Image.frombytes(mode, (len(colors), 1), colors.tobytes())


def _without_float_tags(profile: bytes) -> bytes:
    """Return a profile whose table of tags has other names for its float programs, so that they are not run."""
    content = bytearray(profile)
    (count,) = struct.unpack_from(">I", content, 128)
    for place in range(132, min(132 + 12 * count, len(content)), 12):
        if content[place : place + 3] in _FLOAT_TAGS:
            content[place : place + 4] = b"none"
    return bytes(content)


def _image_cms() -> Any:
    if not features.check("littlecms2"):
        raise UnsupportedImageError(
            "it has a color profile, and this Pillow was built without LittleCMS; install Pillow from its wheel"
        )
    from PIL import ImageCms

    return ImageCms
