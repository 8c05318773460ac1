"""The one place where files become pixels: upright RGB, by fixed rules, or a typed refusal.

Rules: the format is told by the bytes, not by the name. The EXIF turn is applied. Alpha lies on white. CMYK and other
colour spaces are converted. 16-bit grey is scaled, not clipped. Of an animation the first frame counts.
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

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from lmm_classifier.core.concurrency import in_threads
from lmm_classifier.core.errors import (
    CorruptImageError,
    ImageError,
    ImageTooLargeError,
    UnreadableImageError,
    UnsupportedImageError,
)
from lmm_classifier.data.decoder_pool import POOL

# Pillow remarks on odd metadata and on sizes that are judged here anyway. Where warnings are errors, a remark would
# cost a good picture; and warnings.catch_warnings is not safe in threads.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # JPEG opens MPO, the format of some phones, too
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
_KEEP = 3  # a reduced JPEG keeps this many times the side that is looked at: then pixels move by at most 2 of 255


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is refused before it costs anything: pixels (width x height) and bytes of the file; and who decodes."""

    max_pixels: int = 64_000_000
    max_bytes: int = 256 << 20
    isolate: Literal["auto", "all", "off"] = "auto"  # formats that are decoded in a process of their own


@dataclass(frozen=True, slots=True)
class Picture:
    """Upright RGB pixels, and the SHA-256 of the file's bytes in hexadecimal."""

    image: Image.Image
    content_hash: str


@dataclass(frozen=True, slots=True)
class SeenBefore:
    """A file of a content that is known already, so it was not decoded; SHA-256 of its bytes in hexadecimal."""

    content_hash: str


@cache
def accepted_formats() -> tuple[str, ...]:
    """The formats that can be read here, by Pillow's names: HEIF only where its plug-in is installed."""
    formats = [*_FORMATS, "AVIF"] if features.check("avif") else [*_FORMATS]
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return tuple(formats)
    register_heif_opener()
    return (*formats, "HEIF")


def read_picture(path: Path, limits: ImageLimits = ImageLimits(), min_side: int | None = None) -> Picture:
    """Read a file once, for its pixels and its hash; raises ImageError that names the file and the reason.

    With `min_side` a large JPEG may be decoded at a reduced scale, its shorter side staying at least thrice as long.
    """
    picture = read_unless_known(path, limits, lambda: min_side)
    assert isinstance(picture, Picture)
    return picture


def read_unless_known(
    path: Path, limits: ImageLimits, min_side: Callable[[], int | None], known: Container[str] = ()
) -> Picture | SeenBefore:
    """Do the same, but decode nothing whose hash is `known`; the error tells the hash where there is one.

    `min_side` is asked for only where something is decoded.
    """
    content_hash = None
    try:
        data = read_bytes(path, limits)
        content_hash = hashlib.sha256(data).hexdigest()
        if content_hash in known:
            return SeenBefore(content_hash)
        return Picture(decode(data, limits, min_side()), content_hash)
    except ImageError as error:
        named = type(error)(f"{path}: {error}")
        named.content_hash = content_hash
        raise named from error.__cause__


def read_bytes(path: Path, limits: ImageLimits) -> bytes:
    """The bytes of a regular file within the limits; raises ImageError."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # opening a pipe or a device could wait for ever
            raise UnreadableImageError("not a regular file")
        if found.st_size > limits.max_bytes:
            raise ImageTooLargeError(f"{found.st_size:,} bytes, at most {limits.max_bytes:,} are read")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UnreadableImageError(reason.lower()) from error


def decode(data: bytes, limits: ImageLimits = ImageLimits(), min_side: int | None = None) -> Image.Image:
    """Turn the bytes of a file into an upright RGB picture; raises ImageError.

    TIFF, AVIF and HEIC are decoded in a process of their own, which may crash: see `decoder_pool`.
    """
    if limits.isolate == "off" or not (limits.isolate == "all" or _is_fragile(data)):
        return decode_here(data, limits, min_side)
    size, pixels = POOL.decode(data, {"max_pixels": limits.max_pixels, "min_side": min_side})
    return Image.frombytes("RGB", size, pixels)


def _is_fragile(data: bytes) -> bool:
    return data[:4] in _TIFF or data[4:8] == b"ftyp"


def decode_here(data: bytes, limits: ImageLimits = ImageLimits(), min_side: int | None = None) -> Image.Image:
    """Do the same in this process, whatever the format."""
    if not data:
        raise CorruptImageError("the file is empty")
    try:
        with Image.open(BytesIO(data), formats=accepted_formats()) as image:
            _check_size(image.size, limits)
            if min_side is not None and image.format in ("JPEG", "MPO"):
                _reduce(image, min_side)
            image.load()
            return _upright(image, own=True)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise ImageTooLargeError(f"too large to decode ({_short(error)})") from error
    except Exception as error:  # decoders of seven formats fail in many ways; all mean one thing
        raise CorruptImageError(f"damaged picture ({_short(error)})") from error


def _reduce(image: Image.Image, min_side: int) -> None:
    """Let the JPEG decoder give the largest reduction that changes nothing visible at `min_side`.

    Only scales that divide both sides: otherwise the last row or column would be stretched, and the picture shifted.
    """
    width, height = image.size
    for scale in (8, 4, 2):
        if width % scale == height % scale == 0 and min(width, height) >= scale * _KEEP * min_side:
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
        return CorruptImageError("damaged picture (its header cannot be read)")
    return UnsupportedImageError(f"not a picture in an accepted format ({', '.join(accepted_formats())})")


def _short(error: BaseException) -> str:
    text = str(error).split("\n", 1)[0]
    return f"{type(error).__name__}: {text[:120]}" if text else type(error).__name__


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return the picture turned upright and as RGB, by the rules for files; the given one is not changed."""
    return _upright(image, own=False)


def _upright(image: Image.Image, own: bool) -> Image.Image:
    """Do the same; one that is our `own`, upright and RGB already, is returned as it is: a copy costs time."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001 - broken metadata is no reason to refuse good pixels
        orientation = None
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    if own and turn is None and image.mode == "RGB" and "transparency" not in image.info:
        upright = image
    else:
        upright = _rgb(image) if turn is None else _rgb(image).transpose(turn)
    upright.info.clear()  # what is upright must not be turned again
    return upright


def _rgb(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode.startswith("I;16") or mode in ("I", "F"):
        return Image.fromarray(_to_bytes(np.asarray(image))).convert("RGB")
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return _lab_to_rgb(image) if mode == "LAB" else image.convert("RGB")


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Scale grey values (h, w) to 0..255: integers from 0..65535, fractions from 0..1, else from their own range."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise CorruptImageError("grey values that are not finite")
    top = 1.0 if values.dtype.kind == "f" else 65535.0
    if low >= 0 and high <= top:
        low, high = 0.0, top
    return np.rint((values.astype(np.float64) - low) * (255 / max(high - low, 1e-300))).clip(0, 255).astype(np.uint8)


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, "LAB", "RGB"))
    assert converted is not None  # None is for changes in place only
    return converted


def read_pictures(
    paths: Iterable[Path], limits: ImageLimits, min_side: int | None, threads: int
) -> Iterator[Picture | ImageError]:
    """Read files in threads, yielding a picture or an error for each in order, with a bounded number ahead."""

    def attempt(path: Path) -> Picture | ImageError:
        try:
            return read_picture(path, limits, min_side)
        except ImageError as error:
            return error

    return in_threads(attempt, paths, threads)
