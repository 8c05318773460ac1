"""A bounded queue before a classifier: many callers, one encoder, batches of whatever is ready."""

from __future__ import annotations

import asyncio
import atexit
import math
import weakref
from collections.abc import Sequence
from threading import TIMEOUT_MAX, Condition
from types import TracebackType
from typing import Self

from lmm_classifier.batching.admission import Admission
from lmm_classifier.batching.clock import Clock
from lmm_classifier.batching.deadline_timer import DeadlineTimer
from lmm_classifier.batching.queued_image import Asked, QueuedImage, QueuedResult, size_of
from lmm_classifier.batching.service_rate import ServiceRate
from lmm_classifier.batching.statistics import Counters, QueueStatistics
from lmm_classifier.batching.worker_pool import WorkerPool
from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import ClosedError, ConfigError, DeadlineError, QueueFullError
from lmm_classifier.core.forking import register_for_reset
from lmm_classifier.data.image_inputs import ImageInput, check_input
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.stages.answer_options import ANY, AnswerOptions
from lmm_classifier.pipeline.stages.reranking import rerank_votes

_OPEN: weakref.WeakSet[ClassifierQueue] = weakref.WeakSet()  # closed when the program ends
_PATIENCE = 1.0  # seconds that `close` waits for threads that hang, of each kind


class ClassifierQueue:
    """Classifies images of many threads or coroutines in batches, with the results of `HybridClassifier.classify`.

    Images are decoded in `images.threads` threads. One thread encodes all that is ready, without waiting for more: an
    idle queue answers at once, a busy one forms batches by itself. A reranker has a thread of its own, so that a slow
    model does not hold the other images. A timer keeps the deadlines, whatever the threads do.

    A queue starts its threads with the first image. Close it, or use it in a `with` block; the classifier stays open.
    In a forked process it starts empty: images that were submitted before are answered in the parent process.

    Args:
        classifier: classifies the images. Call its `follow_in_background`, so that no edit of the index holds them.
        limit: images that may wait for retrieval's answer, and as many for the reranker.
        max_batch: images that are encoded together; by default what suits the encoders.
        deadline: seconds until an image must be answered, where `submit` names no others.
        max_bytes: bytes that the submitted images may hold while they wait, and as many for the reranker.
        clock: another clock, for tests.

    Raises:
        ConfigError: a number is not above 0.

    Example:
        >>> from pathlib import Path
        >>> from lmm_classifier import ClassifierQueue, HybridClassifier, PipelineConfig
        >>> paths = sorted(Path("new").glob("*.png"))
        >>> with HybridClassifier(PipelineConfig.offline()) as classifier, ClassifierQueue(classifier) as queue:
        ...     futures = [queue.submit(path, deadline=60) for path in paths]
        ...     results = [future.result() for future in futures]
        >>> len(results) == len(paths), "encode" in futures[0].stages
        (True, True)
    """

    def __init__(
        self,
        classifier: HybridClassifier,
        limit: int = 64,
        max_batch: int | None = None,
        deadline: float = 5.0,
        max_bytes: int = 256_000_000,
        clock: Clock | None = None,
    ) -> None:
        self._classifier, self._clock = classifier, clock or Clock()
        self._limit, self._max_bytes, self._deadline = limit, max_bytes, deadline
        most = max(encoder.batch_size for encoder in classifier.encoders) if max_batch is None else max_batch
        self._max_batch = most
        for name, value in (("limit", limit), ("max_batch", most), ("deadline", deadline), ("max_bytes", max_bytes)):
            if not value > 0:
                raise ConfigError(f"{name} is {value}, but it must be above 0.")
        self._is_closed = False
        self._start_empty()
        register_for_reset(self)
        _OPEN.add(self)

    def _start_empty(self) -> None:
        self._rate, self._counters = ServiceRate(), Counters()
        self._admission = Admission(self._limit, self._max_bytes, self._rate)
        self._rerank_admission = Admission(self._limit, self._max_bytes, ServiceRate())
        self._inside: set[QueuedImage] = set()
        self._changed = Condition()
        self._timer = DeadlineTimer[QueuedImage](self._clock, self._expire)
        threads = self._classifier.config.images.readers
        self._readers = WorkerPool[QueuedImage]("decode", threads, 1, self._prepare)
        self._encoder = WorkerPool[QueuedImage]("encode", 1, self._max_batch, self._encode)
        self._reranker = WorkerPool[QueuedImage]("rerank", 1, self._max_batch, self._rerank)

    def reset_after_fork(self) -> None:
        """Start empty, because the threads are those of the parent process."""
        self._start_empty()

    def submit(
        self, image: ImageInput, deadline: float | None = None, may_rerank: bool = True, options: AnswerOptions = ANY
    ) -> QueuedResult:
        """Let an image wait for its result, without waiting here; it takes what `HybridClassifier.classify` takes.

        The future raises what `classify` raises, or DeadlineError. Where the deadline passes while the reranker is
        asked, the result is retrieval's, with the reason `reranker_failed`. Do not change an array or a Pillow image
        before the future is done, and let its callbacks be short.

        Args:
            image: is decoded later, in another thread.
            deadline: seconds from now; infinity for none.
            may_rerank: whether the reranker may be asked; without it retrieval decides alone, in less time.
            options: what this image may be answered with.

        Raises:
            QueueFullError: too many images wait, or so many that the deadline would pass. Nothing was done with it.
            ClosedError: the queue is closed.
            ImageInputError: the image is of another type or shape.
            ConfigError: the deadline is not above 0.
        """
        check_input(image)
        seconds = self._deadline if deadline is None else deadline
        if not seconds > 0:
            raise ConfigError(f"The deadline is {seconds} s, but it must be above 0.")
        size = size_of(image)
        with self._changed:
            if self._is_closed:
                raise ClosedError("This queue is closed. Open another one with ClassifierQueue(classifier).")
            self._admission.enter(size, seconds)
            queued = QueuedImage(image, size, self._clock.now(), seconds, Asked(may_rerank, options), self._leave)
            self._inside.add(queued)
        self._timer.add(queued, queued.deadline)
        _let_wait(queued, self._readers)
        return queued.future

    async def classify(
        self, image: ImageInput, deadline: float | None = None, may_rerank: bool = True, options: AnswerOptions = ANY
    ) -> Classification:
        """Do the same in a coroutine, and return the result; canceling the task cancels the image."""
        return await asyncio.wrap_future(self.submit(image, deadline, may_rerank, options))

    @property
    def statistics(self) -> QueueStatistics:
        """Return the numbers of this moment."""
        ended, batches, seconds = self._counters.copies()
        return QueueStatistics(
            self._admission.count,
            self._rerank_admission.count,
            self._admission.bytes,
            self._rate.per_second,
            ended,
            dict(self._admission.refused),
            batches,
            seconds,
        )

    def close(self, drain: float = 10.0) -> None:
        """Take no more images, and wait at most `drain` seconds for those inside.

        The others end with ClosedError; those that wait for the reranker end with retrieval's result.
        """
        with self._changed:
            self._is_closed = True
            self._changed.wait_for(lambda: not self._inside, min(drain, TIMEOUT_MAX))
            remaining = list(self._inside)
        for queued in remaining:
            self._give_up(queued, ClosedError("The queue was closed before the image was answered."))
        self._timer.stop()
        for pool in (self._readers, self._encoder, self._reranker):
            pool.stop(_PATIENCE)
        _OPEN.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self, batch: Sequence[QueuedImage]) -> None:
        for queued in batch:
            image = queued.image
            if image is None or self._is_late(queued):
                continue
            queued.spent("queue", self._clock.now())
            try:
                queued.prepared = self._classifier.prepare(image, queued.options)
            except Exception as error:  # noqa: BLE001 - whatever it is, the future tells it
                queued.finish(error, self._clock.now())
                continue
            queued.spent("decode", self._clock.now())
            _let_wait(queued, self._encoder)

    def _encode(self, batch: Sequence[QueuedImage]) -> None:
        ready = [(queued, queued.prepared) for queued in batch if not self._is_late(queued)]
        images = [(queued, prepared) for queued, prepared in ready if prepared is not None]
        if not images:
            return
        now = self._clock.now()
        for queued, _ in images:
            queued.spent("queue", now)
        self._counters.count_batch(len(images))
        try:
            encoded = self._classifier.encode([prepared for _, prepared in images])
            self._spent("encode", images)
            votes = self._classifier.retrieve(encoded)
            self._spent("vote", images)
        except Exception as error:  # noqa: BLE001 - whatever it is, the futures tell it
            for queued, _ in images:
                queued.finish(error, self._clock.now())
            return
        answered = self._clock.now()
        self._rate.measure(len(images), min(queued.entered for queued, _ in images), answered)
        for place, ((queued, _), vote) in enumerate(zip(images, votes, strict=True)):
            queued.future.vectors = encoded.vectors_of(place)
            if vote.ambiguity is not None and queued.may_rerank:
                queued.vote = vote
                self._let_wait_for_the_reranker(queued)
            else:
                queued.finish(encoded.refused.get(place, vote.unasked()), answered)

    def _spent(self, stage: str, images: Sequence[tuple[QueuedImage, object]]) -> None:
        now = self._clock.now()
        for queued, _ in images:
            queued.spent(stage, now)

    def _let_wait_for_the_reranker(self, queued: QueuedImage) -> None:
        with self._changed:
            if queued not in self._inside:
                return
            try:
                self._rerank_admission.enter(queued.size, math.inf)
                queued.is_admitted = False
                self._admission.leave(queued.size)
            except QueueFullError:
                is_full = True
            else:
                is_full = False
        if is_full:
            self._give_up(queued, QueueFullError("too many images wait for the reranker"))
        else:
            _let_wait(queued, self._reranker)

    def _rerank(self, batch: Sequence[QueuedImage]) -> None:
        asked = [(queued, queued.vote) for queued in batch if not self._is_late(queued)]
        votes = [(queued, vote) for queued, vote in asked if vote is not None]
        now = self._clock.now()
        for queued, _ in votes:
            queued.spent("queue", now)
        try:
            results: Sequence[Classification | BaseException] = rerank_votes([vote for _, vote in votes])
            self._spent("rerank", votes)
        except Exception as error:  # noqa: BLE001 - whatever it is, retrieval's answer stands
            results = [vote.unanswered(f"{type(error).__name__}: {error}") for _, vote in votes]
        for (queued, _), result in zip(votes, results, strict=True):
            queued.finish(result, self._clock.now())

    def _is_late(self, queued: QueuedImage) -> bool:
        """Return whether work on an image would be in vain; the timer ends one whose deadline has passed."""
        return queued.is_done or queued.deadline <= self._clock.now()

    def _expire(self, queued: QueuedImage) -> None:
        stage = "encoded" if queued.prepared is not None else "decoded"
        reason = f"The deadline of {queued.seconds:g} s passed before the image was {stage}."
        self._give_up(queued, DeadlineError(reason))

    def _give_up(self, queued: QueuedImage, error: Exception) -> None:
        """End an image with retrieval's result, where that is known, or with an error."""
        vote, reason = queued.vote, "its deadline passed" if isinstance(error, DeadlineError) else str(error)
        queued.finish(error if vote is None else vote.unanswered(reason), self._clock.now())

    def _leave(self, queued: QueuedImage) -> None:
        self._timer.discard(queued)
        for pool in (self._readers, self._encoder, self._reranker):
            pool.discard(queued)
        future = queued.future
        self._counters.count_end(queued.error, future.cancelled(), future.stages)
        with self._changed:
            (self._admission if queued.is_admitted else self._rerank_admission).leave(queued.size)
            self._inside.discard(queued)
            self._changed.notify_all()


@atexit.register
def _close_all() -> None:
    """End the threads before the interpreter does: one that is inside a native library then would abort the program."""
    for queue in list(_OPEN):
        queue.close(drain=0)


def _let_wait(queued: QueuedImage, pool: WorkerPool[QueuedImage]) -> None:
    pool.put(queued)
    if queued.is_done:  # it may have ended before, and nobody else removes it
        pool.discard(queued)
