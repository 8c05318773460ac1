"""Decode image files to upright RGB pixels by fixed rules, or raise a typed error. No other place decodes files.

Rules: the bytes decide the format, not the name. The EXIF orientation is applied. Colors become sRGB (`color`), and
values of more than 8 bits are scaled (`bit_depth`). Transparent pixels become white. Of an animation the first frame
counts. A file that lacks only its end is complete (`harmless_defects`).
"""

from __future__ import annotations

import hashlib
import stat
import warnings
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Literal

from PIL import Image, UnidentifiedImageError, features

from lmm_classifier.core.concurrency import threaded_map
from lmm_classifier.core.errors import (
    CorruptImageError,
    ImageError,
    ImageTooLargeError,
    UnreadableImageError,
    UnsupportedImageError,
)
from lmm_classifier.data.bit_depth import in_full_range, prepare_planes, to_bytes
from lmm_classifier.data.color import has_alpha, lab_to_rgb, to_rgba, to_srgb
from lmm_classifier.data.color_code_points import add_profile
from lmm_classifier.data.decoder_pool import POOL
from lmm_classifier.data.harmless_defects import with_end, without_defect

# Pillow warns about odd metadata, and about sizes that are checked here anyway. Where warnings are errors, a warning
# would cost a good image. warnings.catch_warnings is not safe in threads.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # JPEG includes MPO, the format of some phones
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112  # EXIF tag
_MARGIN = 3  # a reduced JPEG has at least this many times `min_side`: then pixels differ by at most 2 of 255


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The largest pixel count (width x height) and file size that are decoded, and where files are decoded."""

    max_pixels: int = 64_000_000
    max_bytes: int = 256 << 20
    decode_in_subprocess: Literal["auto", "all", "off"] = "auto"  # formats for a separate process


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """Upright RGB pixels, and the SHA-256 of the file's bytes in hexadecimal."""

    image: Image.Image
    content_hash: str


@dataclass(frozen=True, slots=True)
class KnownImage:
    """A file that was not decoded because its content is known; the SHA-256 of its bytes in hexadecimal."""

    content_hash: str


@cache
def accepted_formats() -> tuple[str, ...]:
    """Return the formats that can be decoded, by Pillow's names; HEIF only where its plug-in is installed."""
    formats = [*_FORMATS, "AVIF"] if features.check("avif") else [*_FORMATS]
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return tuple(formats)
    register_heif_opener()
    return (*formats, "HEIF")


def read_image(path: Path, limits: ImageLimits = ImageLimits(), min_side: int | None = None) -> DecodedImage:
    """Read a file once, and return its pixels and its hash.

    Args:
        path: the file.
        limits: the largest image to decode.
        min_side: the side in pixels that is needed. A large JPEG may then be decoded at a reduced scale, with a shorter
            side of at least three times as many pixels.

    Raises:
        ImageError: the file cannot be decoded; the message names the file and the reason.
    """
    image = read_if_new(path, limits, lambda: min_side)
    assert isinstance(image, DecodedImage)
    return image


def read_if_new(
    path: Path, limits: ImageLimits, min_side: Callable[[], int | None], known: Container[str] = ()
) -> DecodedImage | KnownImage:
    """Do the same as `read_image`, but do not decode a file whose hash is in `known`.

    `min_side` is called only before a file is decoded. The error has the content hash where the file could be read.
    """
    content_hash = None
    try:
        data = read_bytes(path, limits)
        content_hash = hashlib.sha256(data).hexdigest()
        if content_hash in known:
            return KnownImage(content_hash)
        return DecodedImage(decode(data, limits, min_side()), content_hash)
    except ImageError as error:
        named = type(error)(f"{path}: {error}")
        named.content_hash = content_hash
        raise named from error.__cause__


def read_bytes(path: Path, limits: ImageLimits) -> bytes:
    """Return the bytes of a regular file within the limits; raises ImageError."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe or a device could wait for ever
            raise UnreadableImageError("not a regular file")
        if status.st_size > limits.max_bytes:
            raise ImageTooLargeError(f"{status.st_size:,} bytes, at most {limits.max_bytes:,} are read")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UnreadableImageError(reason.lower()) from error


def decode(data: bytes, limits: ImageLimits = ImageLimits(), min_side: int | None = None) -> Image.Image:
    """Decode the bytes of a file to an upright RGB image; raises ImageError.

    A separate process, which may crash, decodes TIFF, AVIF and HEIC; see `decoder_pool`.
    """
    if limits.decode_in_subprocess == "off" or not (limits.decode_in_subprocess == "all" or _is_fragile(data)):
        return decode_in_process(data, limits, min_side)
    size, pixels = POOL.decode(data, {"max_pixels": limits.max_pixels, "min_side": min_side})
    return Image.frombytes("RGB", size, pixels)


def _is_fragile(data: bytes) -> bool:
    return data[:4] in _TIFF or data[4:8] == b"ftyp"


def decode_in_process(data: bytes, limits: ImageLimits = ImageLimits(), min_side: int | None = None) -> Image.Image:
    """Do the same as `decode` in this process, for any format."""
    try:
        return _decode_strictly(data, limits, min_side)
    except CorruptImageError:
        if (repaired := without_defect(data)) is None:
            raise
        return _decode_strictly(repaired, limits, min_side)


def _decode_strictly(data: bytes, limits: ImageLimits, min_side: int | None) -> Image.Image:
    if not data:
        raise CorruptImageError("the file is empty")
    try:
        with Image.open(BytesIO(data), formats=accepted_formats()) as image:
            _check_size(image.size, limits)
            if (whole := with_end(data)) is None:
                raise CorruptImageError("damaged image (the file is truncated)")
            if whole is not data:
                return _decode_strictly(whole, limits, min_side)
            if min_side is not None and image.format in ("JPEG", "MPO"):
                _reduce(image, min_side)
            prepare_planes(image)
            image.load()
            return _upright(image, data)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise ImageTooLargeError(f"too large to decode ({_short(error)})") from error
    except Exception as error:  # the decoders of seven formats raise many kinds of errors for one fault
        raise CorruptImageError(f"damaged image ({_short(error)})") from error


def _reduce(image: Image.Image, min_side: int) -> None:
    """Set the JPEG decoder to the largest reduction that changes nothing visible at `min_side`.

    Only scales that divide both sides are used. Others would stretch the last row or column and shift the image.
    """
    width, height = image.size
    for scale in (8, 4, 2):
        if width % scale == height % scale == 0 and min(width, height) >= scale * _MARGIN * min_side:
            image.draft(None, (width // scale, height // scale))
            return


def _check_size(size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise CorruptImageError(f"no pixels ({width} x {height})")
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(f"{width} x {height} pixels, at most {limits.max_pixels:,} are decoded")


def _unidentified(data: bytes) -> ImageError:
    if data.startswith(_MAGIC):
        return CorruptImageError("damaged image (its header cannot be read)")
    return UnsupportedImageError(f"not an image in an accepted format ({', '.join(accepted_formats())})")


def _short(error: BaseException) -> str:
    text = str(error).split("\n", 1)[0]
    return f"{type(error).__name__}: {text[:120]}" if text else type(error).__name__


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return an upright RGB image by the rules for files; the given image is not changed."""
    return _upright(image, None)


def _upright(image: Image.Image, data: bytes | None) -> Image.Image:
    """Do the same as `upright_rgb`, but return an image decoded from `data` that is fit already without a copy."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001 - broken metadata is no reason to refuse good pixels
        orientation = None
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    upright = _rgb(image, data)
    if turn is not None:
        upright = upright.transpose(turn)
    elif upright is image and data is None:
        upright = image.copy()
    upright.info.clear()  # an upright image must not be turned again
    return upright


def _rgb(image: Image.Image, data: bytes | None) -> Image.Image:
    """Return an RGB image in sRGB; the image itself where it is one."""
    if image.format in ("JPEG", "MPO") and image.mode == "RGB" and not image.info.get("icc_profile"):
        return image  # most images; there is nothing to look for
    if data is not None:
        add_profile(image, data)
    image = to_srgb(in_full_range(image, data))
    if has_alpha(image):
        layer = to_rgba(image)
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    if image.mode == "RGB":
        return image
    return lab_to_rgb(image) if image.mode == "LAB" else to_bytes(image).convert("RGB")


def read_images(
    paths: Iterable[Path], limits: ImageLimits, min_side: int | None, threads: int
) -> Iterator[DecodedImage | ImageError]:
    """Read files in threads; yield an image or an error for each, in order, with a bounded number read ahead."""

    def attempt(path: Path) -> DecodedImage | ImageError:
        try:
            return read_image(path, limits, min_side)
        except ImageError as error:
            return error

    return threaded_map(attempt, paths, threads)
