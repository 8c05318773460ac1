"""Decode image files to upright RGB pixels by fixed rules, or raise a typed error. No other place decodes files.

Rules: the bytes decide the format, not the name. The EXIF orientation is applied. Colors become sRGB (`color`), and
values of more than 8 bits are scaled (`bit_depth`). Transparent pixels become white. Of an animation the first frame
counts. A file that lacks only its end is complete (`harmless_defects`).
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO

from PIL import Image, UnidentifiedImageError, features

from lmm_classifier.core.concurrency import threaded_map
from lmm_classifier.core.errors import (
    CorruptImageError,
    ImageError,
    ImageTooLargeError,
    UndecodedImageError,
    UnsupportedImageError,
)
from lmm_classifier.data.decoding.bit_depth import in_full_range, prepare_planes, to_bytes
from lmm_classifier.data.decoding.color import has_alpha, lab_to_rgb, to_rgba, to_srgb
from lmm_classifier.data.decoding.color_code_points import add_profile
from lmm_classifier.data.decoding.cost.check import check_cost, is_estimated
from lmm_classifier.data.decoding.cost.jpeg import jpeg_scale
from lmm_classifier.data.decoding.decoder_pool import POOL
from lmm_classifier.data.decoding.decoding_memory import MemoryBudget, has_memory_limit, lacks_memory
from lmm_classifier.data.decoding.harmless_defects import with_end, without_defect
from lmm_classifier.data.decoding.orientation import ORIENTATION, exif_orientation, xmp_orientation
from lmm_classifier.data.decoding.strips import convert_by_strips
from lmm_classifier.data.file_content import read_bytes
from lmm_classifier.data.limits import ImageLimits, check_size, lacks_memory_error
from lmm_classifier.data.places import Place
from lmm_classifier.data.readers.crops import Crop, crop_hash

# Pillow warns about odd metadata, and about sizes that are checked here anyway. Where warnings are errors, a warning
# would cost a good image. warnings.catch_warnings is not safe in threads.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # JPEG includes MPO, the format of some phones
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HOLDING = ("TIFF", "WEBP", "AVIF", "HEIF")  # images of these hold the file or their decoder, and so memory
_MEMORY = MemoryBudget(1_200_000_000)  # bytes, of all threads together: two images of the default limit


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


def read_image(path: Place, limits: ImageLimits = ImageLimits(), min_side: int | None = None) -> DecodedImage:
    """Read a file once, and return its pixels and its hash.

    Args:
        path: the file, or any other place.
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
    path: Place, limits: ImageLimits, min_side: Callable[[], int | None], known: Container[str] = ()
) -> DecodedImage | KnownImage:
    """Do the same as `read_image`, but do not decode a file whose hash is in `known`.

    `min_side` is called only before a file is decoded. The error has the content hash where the file could be read.
    """
    content_hash = None
    try:
        data = read_bytes(path, limits)
        content_hash = hash_of(path, data)
        if content_hash in known:
            return KnownImage(content_hash)
        if isinstance(path, Crop):  # a reduced scale would lose the pixels of the box
            return DecodedImage(path.cut(data, lambda data: decode(data, limits)), content_hash)
        return DecodedImage(decode(data, limits, min_side()), content_hash)
    except ImageError as error:
        named = type(error)(f"{path}: {error}")
        named.content_hash = content_hash
        raise named from error.__cause__


def hash_of(place: Place, data: bytes) -> str:
    """Return the hash of the content of a place, in hexadecimal: the SHA-256 of its bytes, and of the box if any."""
    return crop_hash(data, place.box) if isinstance(place, Crop) else hashlib.sha256(data).hexdigest()


def decode(data: bytes, limits: ImageLimits = ImageLimits(), min_side: int | None = None) -> Image.Image:
    """Decode the bytes of a file to an upright RGB image; raises ImageError.

    JPEG, PNG, GIF and BMP are decoded here, after their cost was estimated. Separate processes with limits of time and
    memory decode the other formats; see `decoder_pool`.
    """
    memory = check_cost(data, limits, min_side)
    choice = limits.decode_in_subprocess
    with _MEMORY.reserved(memory):
        if choice == "all" or (choice == "auto" and not is_estimated(data)):
            return POOL.decode(data, limits, min_side, memory)
        try:
            return decode_in_process(data, limits, min_side)
        except ImageError as error:
            if error.proven and (has_memory_limit() or lacks_memory(memory)):  # which decoders call damage
                raise UndecodedImageError(f"not decoded, memory is scarce ({error})") from error
            raise


def decode_in_process(data: bytes, limits: ImageLimits = ImageLimits(), min_side: int | None = None) -> Image.Image:
    """Do the same as `decode` in this process, for any format, whatever it costs."""
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
            check_size(image.size, limits)
            if (whole := with_end(data)) is None:
                raise CorruptImageError("damaged image (the file is truncated)")
            if whole is not data:
                return _decode_strictly(whole, limits, min_side)
            if image.format in ("JPEG", "MPO") and (scale := jpeg_scale(image.size, min_side)) > 1:
                image.draft(None, (image.width // scale, image.height // scale))
            prepare_planes(image)
            image.load()
            return _upright(image, data)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError(f"too large to decode ({_short(error)})") from error
    except Exception as error:  # the decoders of eight formats raise many kinds of errors for one fault
        if isinstance(error, MemoryError):
            raise lacks_memory_error(limits) from error
        if _is_passing(error):
            raise UndecodedImageError(f"not decoded ({_short(error)})") from error
        raise CorruptImageError(f"damaged image ({_short(error)})") from error


def _is_passing(error: Exception) -> bool:
    """Return whether the system raised an error, not a decoder: it lacks threads, file handles or a module."""
    if isinstance(error, ImportError) or (isinstance(error, OSError) and error.errno is not None):
        return True
    return any(words in str(error).lower() for words in ("out of memory", "cannot allocate", "start new thread"))


def _unidentified(data: bytes) -> ImageError:
    if data.startswith(_MAGIC):
        return CorruptImageError("damaged image (its header cannot be read)")
    return UnsupportedImageError(f"not an image in an accepted format ({', '.join(accepted_formats())})")


def _short(error: BaseException) -> str:
    text = str(error).split("\n", 1)[0]
    return f"{type(error).__name__}: {text[:120]}" if text else type(error).__name__


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return an upright RGB image by the rules for files; the given image is not changed.

    Raises:
        CorruptImageError: the image has no pixels, or its gray values are not finite.
    """
    if 0 in image.size:
        raise CorruptImageError(f"no pixels ({image.width} x {image.height})")
    return _upright(image, None)


def _upright(image: Image.Image, data: bytes | None) -> Image.Image:
    """Do the same as `upright_rgb`, but return an image decoded from `data` that is fit already without a copy."""
    turn = _TURNS.get(_orientation(image, own=data is not None) or 1)
    upright = _rgb(image, data)
    if data is not None and upright is not image:
        image.close()  # frees its pixels before there are more
    if turn is not None:
        upright = upright.transpose(turn)
    elif upright is image and data is None:
        upright = image.copy()
    elif upright is image and image.format in _HOLDING:
        upright = image._new(image.im)
    upright.info.clear()  # an upright image must not be turned again
    return upright


def _orientation(image: Image.Image, own: bool) -> int | None:
    """Return the EXIF orientation. For a file whose metadata Pillow would read without a limit, only this is read."""
    try:
        if not own or image.format not in ("JPEG", "MPO", "PNG") or "Raw profile type exif" in image.info:
            return image.getexif().get(ORIENTATION)
        if (exif := image.info.get("exif")) and (stated := exif_orientation(exif)):
            return stated
        xmp = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp")
        return xmp_orientation(xmp) if xmp else None
    except Exception:  # noqa: BLE001 - broken metadata is no reason to refuse good pixels
        return None


def _rgb(image: Image.Image, data: bytes | None) -> Image.Image:
    """Return an RGB image in sRGB; the image itself where it is one."""
    if image.format in ("JPEG", "MPO") and image.mode == "RGB" and not image.info.get("icc_profile"):
        return image  # most images; there is nothing to look for
    if data is not None:
        add_profile(image, data)
    image = in_full_range(image, data)
    if has_alpha(image):
        return convert_by_strips(image, _on_white)
    image = to_srgb(image)
    if image.mode == "RGB":
        return image
    return lab_to_rgb(image) if image.mode == "LAB" else to_bytes(image).convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    layer = to_rgba(to_srgb(image))
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def read_images(
    paths: Iterable[Place], limits: ImageLimits, min_side: int | None, threads: int
) -> Iterator[DecodedImage | ImageError]:
    """Read files in threads; yield an image or an error for each, in order, with a bounded number read ahead."""

    def attempt(path: Place) -> DecodedImage | ImageError:
        try:
            return read_image(path, limits, min_side)
        except ImageError as error:
            return error

    return threaded_map(attempt, paths, threads)
