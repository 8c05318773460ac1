"""Parts of images as files of their own, for programs that know files only."""

from __future__ import annotations

from io import BytesIO
from pathlib import PurePosixPath

from lmm_classifier.core.errors import ImageError
from lmm_classifier.data.images import read_image
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.places import file_name
from lmm_classifier.data.readers.crops import Crop


def crop_png(crop: Crop, content_hash: str | None, limits: ImageLimits = ImageLimits()) -> bytes:
    """Return the upright pixels of a part of an image as a PNG; the same pixels give the same bytes.

    Args:
        crop: the part.
        content_hash: what its content must have, in hexadecimal; None where it is not known.
        limits: the largest image to decode.

    Raises:
        OSError: the image is missing, changed since, or cannot be decoded.
    """
    try:
        part = read_image(crop, limits)
    except ImageError as error:
        raise OSError(str(error).removeprefix(f"{crop}: ")) from error
    if content_hash and part.content_hash != content_hash:
        raise OSError("the file has changed since")
    stream = BytesIO()
    part.image.save(stream, "PNG")
    return stream.getvalue()


def crop_file_name(crop: Crop) -> str:
    """Return a file name for a part of an image: the name of the image and the box."""
    name = file_name(crop).rpartition("#")[0]
    return f"{PurePosixPath(name).stem}-{'-'.join(map(str, crop.box))}.png"
