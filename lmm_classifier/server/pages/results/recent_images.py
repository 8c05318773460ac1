"""The images that people looked at last, in memory, so that each result has an address; nothing is written."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from lmm_classifier.core.datatypes import Classification

_MOST_BYTES = 128_000_000
_MOST_IMAGES = 500


@dataclass(frozen=True, slots=True)
class RecentImage:
    """An image with its last result."""

    content_hash: str
    data: bytes
    result: Classification
    version: int | None  # of the index that answered


class RecentImages:
    """Keeps images until newer ones need the place."""

    def __init__(self, most_bytes: int = _MOST_BYTES, most_images: int = _MOST_IMAGES) -> None:
        self._most_bytes, self._most_images = most_bytes, most_images
        self._kept: OrderedDict[str, RecentImage] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def put(self, image: RecentImage) -> None:
        """Keep an image, in the place of an older result of the same bytes."""
        with self._lock:
            former = self._kept.pop(image.content_hash, None)
            self._bytes += len(image.data) - (len(former.data) if former else 0)
            self._kept[image.content_hash] = image
            while len(self._kept) > self._most_images or (self._bytes > self._most_bytes and len(self._kept) > 1):
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= len(dropped.data)

    def get(self, content_hash: str) -> RecentImage | None:
        """Return an image, None where it had to make place."""
        with self._lock:
            found = self._kept.get(content_hash)
            if found is not None:
                self._kept.move_to_end(content_hash)
            return found
