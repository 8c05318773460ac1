"""Turn what callers have (a path, the bytes of a file, an array, a Pillow image) into upright RGB pixels.

Arrays: (height, width) is gray, (height, width, 3) is RGB, (height, width, 4) is RGB with alpha, which is put on white.
`uint8` counts from 0 to 255, `uint16` from 0 to 65535, and floating-point numbers from 0 to 1.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lmm_classifier.core.errors import CorruptImageError, ImageError, ImageInputError, ImageTooLargeError
from lmm_classifier.core.paths import expand_home
from lmm_classifier.data.images import DecodedImage, decode, read_image, upright_rgb
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.places import Place

ImageInput = Image.Image | str | os.PathLike[str] | Place | bytes | bytearray | memoryview | NDArray[Any]

_ACCEPTED = "a path, the bytes of a file, a NumPy array or a Pillow image"
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def check_input(image: object) -> None:
    """Raise ImageInputError unless `image` is of a type and shape that can be an image."""
    if isinstance(image, np.ndarray):
        _check_array(image)
    elif not isinstance(image, Image.Image | str | os.PathLike | bytes | bytearray | memoryview | Place):
        raise ImageInputError(f"Expected {_ACCEPTED}, got {type(image).__name__}.{_hint(image)}")


def check_inputs(images: object) -> Sequence[ImageInput]:
    """Return the images, if they are several that can be images; else raise ImageInputError."""
    if isinstance(images, np.ndarray) and images.ndim != 4:
        raise ImageInputError(
            f"Expected several images, got an array of shape {images.shape}. Several images in one array have the "
            "shape (n, height, width, channels)."
        )
    if isinstance(images, str | bytes | bytearray | memoryview | os.PathLike | Image.Image | Place):
        raise ImageInputError(f"Expected several images, got one {type(images).__name__}. Put it in a list.")
    if not isinstance(images, Iterable):
        raise ImageInputError(f"Expected several images, got {type(images).__name__}.")
    several = list(images)
    for image in several:
        check_input(image)
    return several


def check_paths(paths: object) -> Iterator[Place]:
    """Return the paths of several files with `~` expanded, each when it is asked for; else raise ImageInputError."""
    if isinstance(paths, str | bytes | bytearray | memoryview | os.PathLike | Image.Image | Place):
        raise ImageInputError(f"Expected several paths, got one {type(paths).__name__}. Put it in a list.")
    if not isinstance(paths, Iterable):
        raise ImageInputError(f"Expected several paths, got {type(paths).__name__}.")
    return map(_checked_path, paths)


def path_of(image: ImageInput) -> str | None:
    """Return the path of an image that is a file, the name of another place, else None."""
    if isinstance(image, Place) and not isinstance(image, os.PathLike):
        return str(image)
    return os.fspath(image) if isinstance(image, str | os.PathLike) else None


def place_of(image: str | os.PathLike[str] | Place) -> Place:
    """Return where the bytes of an image are; `~` is expanded in a path."""
    return expand_home(Path(image)) if isinstance(image, str | os.PathLike) else image


def read_input(image: ImageInput, limits: ImageLimits, min_side: int | None = None) -> DecodedImage:
    """Return upright RGB pixels of an image that `check_input` accepts.

    Args:
        image: the image. The hash of its content is empty where it is an array or a Pillow image.
        limits: the largest image to decode.
        min_side: the side in pixels that is needed; see `read_image`.

    Raises:
        ImageError: it cannot be decoded, has no pixels, too many, or values out of range.
    """
    if isinstance(image, str | os.PathLike | Place):
        return read_image(place_of(image), limits, min_side)
    if isinstance(image, bytes | bytearray | memoryview):
        data = bytes(image)
        if len(data) > limits.max_bytes:
            raise ImageTooLargeError(f"{len(data):,} bytes, at most {limits.max_bytes:,} are read")
        return DecodedImage(decode(data, limits, min_side), hashlib.sha256(data).hexdigest())
    height, width = image.shape[:2] if isinstance(image, np.ndarray) else (image.height, image.width)
    if height < 1 or width < 1:
        raise CorruptImageError(f"no pixels ({width} x {height})")
    if height * width > limits.max_pixels:
        raise ImageTooLargeError(f"{width} x {height} pixels, at most {limits.max_pixels:,} are accepted")
    try:
        return DecodedImage(upright_rgb(_of_array(image) if isinstance(image, np.ndarray) else image), "")
    except ImageError:
        raise
    except Exception as error:  # a Pillow image decodes its file only now
        raise CorruptImageError(f"damaged image ({type(error).__name__}: {error})") from error


def _checked_path(path: object) -> Place:
    if isinstance(path, Place) and not isinstance(path, os.PathLike):
        return path
    if not isinstance(path, str | os.PathLike):
        raise ImageInputError(f"Expected a path, got {type(path).__name__}. For other images use `classify_many`.")
    return expand_home(Path(path))


def _check_array(array: NDArray[Any]) -> None:
    shape = array.shape
    if isinstance(array, np.ma.MaskedArray):
        raise ImageInputError("Expected an array without a mask. Give masked values a color with `array.filled(...)`.")
    if array.ndim == 4:
        raise ImageInputError(f"Expected one image, got an array of shape {shape}. Give each image on its own.")
    if array.ndim == 3 and shape[2] not in _MODES and shape[0] in _MODES:
        raise ImageInputError(
            f"Expected an array (height, width, channels), got shape {shape} with channels first. Use "
            "`array.transpose(1, 2, 0)`."
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in _MODES):
        raise ImageInputError(f"Expected an array (height, width), (height, width, 3) or (..., 4), got shape {shape}.")
    if array.dtype.kind != "f" and array.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise ImageInputError(
            f"Expected an array of uint8 (0 to 255), uint16 (0 to 65535) or floating-point numbers (0 to 1), got "
            f"{array.dtype}. Convert it, for example with `array.astype(numpy.uint8)`."
        )


def _of_array(array: NDArray[Any]) -> Image.Image:
    """Return a Pillow image of an array that `_check_array` accepts."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= 1):  # not so for NaN
            raise CorruptImageError(
                f"floating-point values from {low:g} to {high:g}, expected 0 to 1; divide values up to 255 by 255"
            )
        array = np.rint(array.astype(np.float64) * 255)
    elif array.dtype.itemsize == 2:
        array = np.rint(array / 257)  # 65535 becomes 255
    pixels = np.ascontiguousarray(array.astype(np.uint8))
    height, width, channels = pixels.shape
    return Image.frombytes(_MODES[channels], (width, height), pixels.tobytes())


def _hint(image: object) -> str:
    if hasattr(image, "read"):
        return " Give the bytes that its `read()` returns."
    if hasattr(image, "numpy") or hasattr(image, "__array__"):
        return " Make a NumPy array of it, (height, width, channels)."
    return " For several images use `classify_many`." if isinstance(image, list | tuple) else ""
