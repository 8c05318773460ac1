"""An image in the queue, and the future of its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock
from types import MappingProxyType

import numpy as np
from PIL import Image

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.datatypes import Classification
from lmm_classifier.data.image_inputs import ImageInput
from lmm_classifier.pipeline.stages.answer_options import ANY, AnswerOptions
from lmm_classifier.pipeline.stages.prepared_image import PreparedImage
from lmm_classifier.pipeline.stages.reranking import Vote


class QueuedResult(Future[Classification]):
    """The future of a result. `cancel` works until it is done.

    When it is done, `stages` has the seconds of each stage: `queue` (waiting in all), `decode`, `encode`, `vote`,
    `rerank` and `total`. A stage that an image did not reach is missing. All images of a batch have its time.
    `vectors` has the vectors (dim,) of the image, as the encoders that are asked about every image made them, by the
    places of these encoders in the configuration.
    """

    stages: Mapping[str, float] = MappingProxyType({})
    vectors: Mapping[int, Float32Array] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of one image besides its deadline."""

    may_rerank: bool = True
    options: AnswerOptions = ANY


class QueuedImage:
    """An image on its way. It ends exactly once: by a result, an error or cancellation, whichever is first.

    Args:
        image: what was submitted; forgotten at the end.
        size: bytes that it holds.
        now: when it entered the queue.
        seconds: until its deadline.
        asked: what the answer may be.
        at_end: called once, before anybody learns of the end.
    """

    def __init__(
        self,
        image: ImageInput,
        size: int,
        now: float,
        seconds: float,
        asked: Asked,
        at_end: Callable[[QueuedImage], None],
    ) -> None:
        self.image: ImageInput | None = image
        self.may_rerank: bool = asked.may_rerank
        self.options: AnswerOptions = asked.options
        self.size: int = size
        self.entered: float = now
        self.seconds: float = seconds
        self.deadline: float = now + seconds
        self.prepared: PreparedImage | None = None
        self.vote: Vote | None = None  # retrieval's, while the reranker is asked
        self.is_admitted = True  # whether it counts in the queue before the vote
        self.future: QueuedResult = QueuedResult()
        self._stages: dict[str, float] = {}
        self._last = now
        self.error: BaseException | None = None  # with which it ended
        self._is_ending = self._has_left = False
        self._lock = Lock()
        self._at_end = at_end
        self.future.add_done_callback(self._end_if_cancelled)

    @property
    def is_done(self) -> bool:
        """Whether it ended."""
        return self._has_left or self.future.done()

    @property
    def is_cancelled(self) -> bool:
        """Whether it ended by cancellation."""
        return self.future.cancelled()

    def spent(self, stage: str, now: float) -> None:
        """Count the time since the last call for a stage."""
        self._stages[stage] = self._stages.get(stage, 0.0) + now - self._last
        self._last = now

    def finish(self, result: Classification | BaseException, now: float) -> bool:
        """End with a result or an error; return whether this was the end."""
        if not self._begin_end() or not self.future.set_running_or_notify_cancel():
            return False
        self.future.stages = MappingProxyType({**self._stages, "total": now - self.entered})
        self.error = None if isinstance(result, Classification) else result
        self._leave()  # before those who wait for the result wake: they may submit the next image at once
        if isinstance(result, Classification):
            self.future.set_result(result)
        else:
            self.future.set_exception(result)
        return True

    def _begin_end(self) -> bool:
        with self._lock:
            is_first, self._is_ending = not self._is_ending, True
            return is_first

    def _end_if_cancelled(self, future: Future[Classification]) -> None:
        if not future.cancelled():
            return
        if self._begin_end():
            future.set_running_or_notify_cancel()  # so that `concurrent.futures.wait` learns of it
        self._leave()

    def _leave(self) -> None:
        self._has_left = True
        self._at_end(self)
        self.image = self.prepared = self.vote = None


def size_of(image: ImageInput) -> int:
    """Return the bytes that an image holds while it waits; a path holds none."""
    if isinstance(image, Image.Image):
        return image.width * image.height * 4
    if isinstance(image, np.ndarray | memoryview):
        return image.nbytes
    return len(image) if isinstance(image, bytes | bytearray) else 0
