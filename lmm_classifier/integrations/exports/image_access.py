"""The images of an export: their bytes where those are still the same, and URLs under which a program finds them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lmm_classifier.core.errors import LmmClassifierError, OutputError
from lmm_classifier.core.paths import absolute
from lmm_classifier.data.images import hash_of
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.places import Place
from lmm_classifier.data.readers.crop_files import crop_png
from lmm_classifier.data.readers.crops import Crop
from lmm_classifier.data.readers.urls import is_url

NO_URL = (
    "Label Studio needs the URL of each image, and a box has none. Expected fiftyone or folder, which cut the boxes "
    "out as files; the files of a folder can be classified or indexed for Label Studio."
)
"""Why a box cannot be a task of Label Studio, and what can."""
LOCAL_FILES = "/data/local-files/?d="
"""What Label Studio puts before a file of its own machine."""


def image_bytes(place: Place, content_hash: str | None, limits: ImageLimits = ImageLimits()) -> bytes:
    """Return the bytes of an image file; a part of an image becomes a PNG.

    Args:
        place: the image.
        content_hash: SHA-256 that the bytes must have, in hexadecimal; None where it is not known.
        limits: the largest image to read.

    Raises:
        OSError: the file is missing, too large, or it changed since; or a part of it cannot be cut out.
    """
    if isinstance(place, Crop):
        return crop_png(place, content_hash, limits)
    try:
        size = place.stat().st_size
        if size > limits.max_bytes:
            raise OSError(f"it has {size:,} bytes, at most {limits.max_bytes:,} are read")
        data = place.read_bytes()
    except (LmmClassifierError, ValueError) as error:
        raise OSError(str(error)) from error
    if content_hash and hash_of(place, data) != content_hash:
        raise OSError("the file has changed since")
    return data


def reason_of(error: OSError) -> str:
    """Return in words why an image cannot be exported."""
    return (error.strerror or str(error)).lower()


@dataclass(frozen=True)
class ImageUrls:
    """The URLs of images: a prefix and the name of each; without a prefix, those of Label Studio's local files."""

    prefix: str | None = None

    def url(self, place: Place, name: str) -> str:
        """Return the URL of an image.

        Args:
            place: the image.
            name: what follows the prefix: the id of an example, or a path as it was given.

        Raises:
            OutputError: it is a part of an image, or there is no prefix and it is neither a file nor a URL.
        """
        if isinstance(place, Crop):
            raise OutputError(f"{place} is a part of an image. {NO_URL}")
        if self.prefix is not None:
            return self.prefix + quote(os.fsencode(name.removeprefix("./").lstrip("/")))
        if isinstance(place, Path):
            return LOCAL_FILES + quote(os.fsencode(absolute(place).as_posix().lstrip("/")))
        if is_url(str(place)):
            return str(place)
        raise OutputError(
            f"{place} is no file of its own and has no URL. Expected a prefix that makes one of its name (url_prefix)."
        )
