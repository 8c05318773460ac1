"""Small images of examples and items of runs, made anew as JPEG without metadata; no file itself is ever sent."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lmm_classifier.core.errors import ImageError, QueueFullError
from lmm_classifier.data.images import read_image
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.evaluation.reports.thumbnails import jpeg, reduced
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.results import ExampleIds

SIDES = (64, 128, 256, 1024)  # pixels of the longer side
_THREADS = 2
_WAITING = 256  # images that may wait


class ThumbnailCache:
    """Makes each small image once, and keeps the ones that were used last in memory.

    Args:
        max_bytes: of all that are kept.
        limits: for reading the files of examples.
    """

    def __init__(self, max_bytes: int, limits: ImageLimits) -> None:
        self._max_bytes, self._limits = max_bytes, limits
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._bytes, self._waiting = 0, 0
        self._threads = ThreadPoolExecutor(_THREADS, "thumbnails")

    async def get(
        self, ids: ExampleIds, content_hash: str, side: int, file_of: Callable[[], Path] | None = None
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
        key = content_hash, side
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if self._waiting >= _WAITING:
            raise QueueFullError(
                f"{self._waiting} small images wait, which is the limit.", 1.0, self._waiting, _WAITING
            )
        self._waiting += 1
        try:
            data = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._made, ids, content_hash, side, file_of
            )
        finally:
            self._waiting -= 1
        self._keep(key, data)
        return data

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)

    def _made(self, ids: ExampleIds, content_hash: str, side: int, file_of: Callable[[], Path] | None) -> bytes:
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

    def _keep(self, key: tuple[str, int], data: bytes) -> None:
        self._bytes += len(data) - len(self._kept.pop(key, b""))
        self._kept[key] = data
        while self._bytes > self._max_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= len(dropped)
