"""Small images of examples and items of runs, made anew as JPEG without metadata; no file itself is ever sent."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from lmm_classifier.core.errors import ImageError, QueueFullError
from lmm_classifier.data.images import read_image
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.places import Place
from lmm_classifier.html.thumbnails import jpeg, reduced
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.results import ExampleIds

SIDES = (64, 128, 256, 1024)  # pixels of the longer side
_THREADS = 2
_WAITING = 256  # images that may wait


class _Kept:
    """Small images by content and side, up to so many bytes; those that were used last stay. One thread uses it."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self._bytes = max_bytes, 0
        self._images: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def get(self, key: tuple[str, int]) -> bytes | None:
        """Return an image, None where it is not kept."""
        if key not in self._images:
            return None
        self._images.move_to_end(key)
        return self._images[key]

    def keep(self, key: tuple[str, int], data: bytes) -> None:
        """Keep an image, and drop those that were not used for the longest time."""
        self._bytes += len(data) - len(self._images.pop(key, b""))
        self._images[key] = data
        while self._bytes > self.max_bytes:
            _, dropped = self._images.popitem(last=False)
            self._bytes -= len(dropped)


class ThumbnailCache:
    """Makes each small image once, and keeps the ones that were used last in memory.

    Args:
        max_bytes: of all that are kept.
        limits: for reading the files of examples.
    """

    def __init__(self, max_bytes: int, limits: ImageLimits) -> None:
        self._limits, self._waiting = limits, 0
        self._kept = _Kept(max_bytes)
        self._threads = ThreadPoolExecutor(_THREADS, "thumbnails")

    async def get(
        self, ids: ExampleIds, content_hash: str, side: int, file_of: Callable[[], Place] | None = None
    ) -> bytes:
        """Return the JPEG of an example, or of an item of a run.

        Args:
            ids: of the examples.
            content_hash: of the image.
            side: pixels of the longer side.
            file_of: finds the file of the item; it may raise ProblemError.

        Raises:
            ProblemError: nothing has this content, or its file is gone, changed or unreadable.
            QueueFullError: too many wait.
        """
        key, kept = (content_hash, side), self._kept
        if (known := kept.get(key)) is not None:
            return known
        if self._waiting >= _WAITING:
            message = f"{self._waiting} small images wait, which is the limit."
            raise QueueFullError(message, 1.0, self._waiting, _WAITING, "thumbnails")
        self._waiting += 1
        try:
            data = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._made, ids, content_hash, side, file_of
            )
        finally:
            self._waiting -= 1
        kept.keep(key, data)  # where all were forgotten meanwhile, this one is too
        return data

    def forget(self) -> None:
        """Forget all: what they show may have been deleted. Where it is still there, they are made again."""
        self._kept = _Kept(self._kept.max_bytes)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)

    def _made(self, ids: ExampleIds, content_hash: str, side: int, file_of: Callable[[], Place] | None) -> bytes:
        files = ids.files_of(content_hash)
        for file in files or ([file_of()] if file_of is not None else []):
            try:
                decoded = read_image(file, self._limits, side)
            except ImageError:
                continue
            if decoded.content_hash == content_hash:
                return jpeg(reduced(decoded.image, side))
        is_known = bool(files) or file_of is not None
        detail = "The image is gone, unreadable or has changed." if is_known else "No example has this content."
        raise ProblemError("not-found", detail)
