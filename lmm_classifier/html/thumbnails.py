"""Read images and make them small, to embed them in a page as data URLs."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass

from PIL import ImageOps
from PIL.Image import Image, Resampling

from lmm_classifier.core.errors import ImageError
from lmm_classifier.data.images import read_image
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.places import Place, is_nowhere

_SIDE = 128  # pixels of an image's longer side
_NEIGHBOR_SIDE = 64  # pixels of a neighbor's square
_QUALITY = 72  # JPEG; a page of 300 cards stays below 6 MB

MISSING = "missing"  # CSS class of a neighbor whose image cannot be read


@dataclass(frozen=True, slots=True)
class EmbeddedImage:
    """An image as a data URL with its size in pixels, or the reason why it cannot be shown."""

    name: str  # for those who cannot see it
    url: str = ""
    width: int = 0
    height: int = 0
    error: str = ""


def embed_image(path: Place, name: str, limits: ImageLimits, content_hash: str | None = None) -> EmbeddedImage:
    """Read the image at `path` within the limits, and reduce it to 128 pixels; keep its shape, but no side below 1.

    What was made from a vector has no image, and says so. With `content_hash`, a file of another content is not shown,
    because it is not the image that is meant.
    """
    if is_nowhere(path):
        return EmbeddedImage(name, error="made from a vector, no image")
    try:
        read = read_image(path, limits, _SIDE)
    except ImageError as error:
        return EmbeddedImage(name, error=str(error))
    if content_hash not in (None, read.content_hash):
        return EmbeddedImage(name, error="The file was changed since it was classified.")
    image = read.image
    small = resized(image, _SIDE)
    return EmbeddedImage(name, _data_url(small), *small.size)


def resized(image: Image, side: int) -> Image:
    """Return the image with a longer side of `side` pixels; keep its shape, but no side below 1."""
    scale = side / max(image.size)
    size = max(1, round(scale * image.width)), max(1, round(scale * image.height))
    return image.resize(size, Resampling.BICUBIC)


def reduced(image: Image, side: int) -> Image:
    """Do the same as `resized`, but leave a smaller image as it is."""
    return image if max(image.size) <= side else resized(image, side)


def jpeg(image: Image) -> bytes:
    """Return the pixels as a JPEG without metadata."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=_QUALITY, optimize=True)
    return data.getvalue()


class Thumbnails:
    """Images of neighbors. Each is read once and written once, as the background of a CSS class."""

    def __init__(self, file_of: Callable[[str], Place], limits: ImageLimits) -> None:
        self._file_of = file_of  # returns the image file of an example
        self.limits = limits  # of all images on the page
        self._urls: dict[str, str | None] = {}  # example -> data URL, None where the image cannot be read
        self._numbers: dict[str, int] = {}

    def css_class(self, path: str) -> str:
        """Return the CSS class that shows the image of an example, `MISSING` where it cannot be read."""
        return MISSING if self.url(path) is None else f"n{self._numbers[path]}"

    def url(self, path: str) -> str | None:
        """Return the image of an example as a data URL, None where it cannot be read."""
        if path not in self._urls:
            self._numbers[path] = len(self._numbers)
            self._urls[path] = self._read(self._file_of(path))
        return self._urls[path]

    def urls(self) -> list[tuple[str, str]]:
        """Return the CSS class and the data URL of each image that was asked for."""
        return [(f"n{self._numbers[path]}", url) for path, url in self._urls.items() if url is not None]

    def _read(self, path: Place) -> str | None:
        try:
            image = read_image(path, self.limits, _NEIGHBOR_SIDE).image
        except ImageError:
            return None
        return _data_url(ImageOps.fit(image, (_NEIGHBOR_SIDE, _NEIGHBOR_SIDE)))


def _data_url(image: Image) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(image)).decode("ascii")
