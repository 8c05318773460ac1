"""Whether the server is ready: an image went through the whole queue a short time ago."""

from __future__ import annotations

import asyncio
import io
import logging
import time

from PIL import Image

from lmm_classifier.batching.classifier_queue import ClassifierQueue
from lmm_classifier.core.errors import LmmClassifierError, QueueFullError

logger: logging.Logger = logging.getLogger(__name__)

_EVERY = 10.0  # seconds after the last answer until an image is classified to see whether that works
RECENT = 30.0  # seconds that an answer counts
_PATIENCE = 20.0  # seconds for that image


class Readiness:
    """Knows when an image was answered last, and classifies one of its own where nobody asks."""

    def __init__(self) -> None:
        self._answered: float | None = None
        self.failure: str = "no image was classified yet"

    @property
    def is_recent(self) -> bool:
        """Whether an image was answered in the last `RECENT` seconds."""
        return self._answered is not None and time.monotonic() - self._answered <= RECENT

    def answered(self) -> None:
        """Say that an image was answered now."""
        self._answered = time.monotonic()

    async def watch(self, queue: ClassifierQueue) -> None:
        """Classify an image of its own whenever no other was answered for a while, until it is cancelled."""
        image = _own_image()
        while True:
            if self._answered is None or time.monotonic() - self._answered >= _EVERY:
                await self._try(queue, image)
            await asyncio.sleep(_EVERY / 10 if self._answered is None else _EVERY)

    async def _try(self, queue: ClassifierQueue, image: bytes) -> None:
        try:
            await queue.classify(image, _PATIENCE)
        except QueueFullError:
            self.failure = "the queue is full and no image was answered"
        except LmmClassifierError as error:
            self.failure = f"an image failed with {type(error).__name__}"
            logger.warning("The server is not ready: %s", error)
        else:
            self.answered()


def _own_image() -> bytes:
    data = io.BytesIO()
    Image.radial_gradient("L").resize((96, 96)).convert("RGB").save(data, "PNG")
    return data.getvalue()
