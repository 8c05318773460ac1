"""Parts of images as places: an id is that of the image, `#`, and the box in pixels of the upright image.

The box is applied after decoding. Boxes of one image follow each other in a dataset, so the image is read and decoded
once for all of them.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple
from weakref import WeakValueDictionary

from PIL.Image import Image

from lmm_classifier.core.errors import CorruptImageError, ImageSizeError
from lmm_classifier.core.forking import ForkSafeLock
from lmm_classifier.data.places import FileStatus, Place, Root

_BOX = re.compile(r"(?P<path>.*)#(?P<box>-?\d{1,9},-?\d{1,9},-?\d{1,9},-?\d{1,9})", re.DOTALL)
_KEPT = 2  # decoded images that no thread uses: the next box may be of one of them


class Box(NamedTuple):
    """A box in pixels; right and bottom are excluded."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def around(cls, x: float, y: float, width: float, height: float) -> Box:
        """Return the whole pixels that a box touches; an integer box keeps its pixels exactly."""
        left, top = int(x // 1), int(y // 1)
        return cls(left, top, int(-(-(x + width) // 1)), int(-(-(y + height) // 1)))


def crop_id(path: str, box: Box) -> str:
    """Return the id of a part of the image `path`."""
    return f"{path}#{','.join(map(str, box))}"


def crop_hash(data: bytes, box: Box) -> str:
    """Return the hash of the content of a part: of the bytes of the file and of the box, in hexadecimal."""
    return hashlib.sha256(b"%b#%b" % (hashlib.sha256(data).digest(), repr(tuple(box)).encode())).hexdigest()


@dataclass
class CropRoot:
    """Images as a root whose ids may have a box; an id without one is the whole image."""

    images: Root
    # width and height of images in which boxes are counted, by path, where the file of the boxes tells them
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    # those that a thread uses now are found however many there are; a few more are kept for the next box
    _used: WeakValueDictionary[tuple[str, int, int], _Once] = field(default_factory=WeakValueDictionary)
    _latest: deque[_Once] = field(default_factory=partial(deque, maxlen=_KEPT))
    _lock: ForkSafeLock = field(default_factory=ForkSafeLock)

    def __truediv__(self, path: str, /) -> Place:
        match = _BOX.fullmatch(path)
        if match is None:
            return self.images / path
        return Crop(self, path, self.images / match["path"], Box(*map(int, match["box"].split(","))))

    def decoded(self, name: str, data: bytes, decode: Callable[[bytes], Image]) -> Image:
        """Return the pixels of an image; threads that ask for the same one at the same time decode it once."""
        key = name, len(data), hash(data)
        with self._lock:
            once = self._used.get(key) or _Once()
            self._used[key] = once
            if once not in self._latest:
                self._latest.append(once)
        return once.get(lambda: decode(data))


class _Once:
    """The pixels of one image, decoded by whoever asks first; a failure is tried again."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._image: Image | None = None

    def get(self, decode: Callable[[], Image]) -> Image:
        with self._lock:
            if self._image is None:
                self._image = decode()
            return self._image


@dataclass(frozen=True)
class Crop:
    """A part of an image."""

    root: CropRoot
    path: str
    file: Place
    box: Box

    def stat(self) -> FileStatus:
        """Return the status of the whole file."""
        return self.file.stat()

    def read_bytes(self) -> bytes:
        """Return the bytes of the whole file."""
        return self.file.read_bytes()

    def cut(self, data: bytes, decode: Callable[[bytes], Image]) -> Image:
        """Return the pixels in the box.

        Args:
            data: the bytes of the file.
            decode: decodes them to an upright image in its full size.

        Raises:
            ImageError: the file cannot be decoded, has another size than its boxes count in, or no pixel in the box.
        """
        image = self.root.decoded(str(self.file), data, decode)
        _require_size(self.root.sizes.get(self.path.rpartition("#")[0]), image.size)
        left, top = max(self.box.left, 0), max(self.box.top, 0)
        right, bottom = min(self.box.right, image.width), min(self.box.bottom, image.height)
        if left >= right or top >= bottom:
            raise CorruptImageError(
                f"the box {tuple(self.box)} has no pixel of the image {image.width} x {image.height}"
            )
        return image.crop((left, top, right, bottom))

    def __str__(self) -> str:
        return f"{self.file}#{','.join(map(str, self.box))}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Crop) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def _require_size(told: tuple[int, int] | None, size: tuple[int, int]) -> None:
    """Refuse a box of an image that has another size than the file of the boxes says: it would cut out anything."""
    if told is None or told == size:
        return
    if told == size[::-1]:
        why = "turned by its EXIF orientation? Boxes count pixels of the upright image"
    else:
        why = "resized? Boxes count pixels of the image as it is now"
    raise ImageSizeError(f"the file of the boxes says {told[0]} x {told[1]}, the image is {size[0]} x {size[1]}: {why}")
