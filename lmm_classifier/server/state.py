"""What all routes of one server share: the classifier, its queue, and whether it starts, serves or ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from threading import Thread
from typing import Any, cast

from starlette.requests import Request

from lmm_classifier.batching.classifier_queue import ClassifierQueue
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import Cancelled, LmmClassifierError
from lmm_classifier.core.progress import Progress
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.index.backends.store_index import StoreIndex
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.staleness import stale_parts
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.index_info import describe_index
from lmm_classifier.pipeline.slow_start import watched_start
from lmm_classifier.server.background.auditing import Auditing
from lmm_classifier.server.background.calibrating import Calibrating
from lmm_classifier.server.background.mapping import DatasetMapping
from lmm_classifier.server.config import ServerConfig
from lmm_classifier.server.editing import Editing
from lmm_classifier.server.metrics import Gauges, Metrics
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.readiness import Readiness
from lmm_classifier.server.results import ExampleIds
from lmm_classifier.server.retention import Retention
from lmm_classifier.server.reviewing.reviews import Reviewing
from lmm_classifier.server.security.access import Access
from lmm_classifier.server.stored_ids import StoredExampleIds
from lmm_classifier.server.thumbnails import ThumbnailCache
from lmm_classifier.server.uploads import HeldBytes

logger: logging.Logger = logging.getLogger(__name__)

_Parts = tuple[HybridClassifier, ClassifierQueue, Editing, Reviewing]


class ServerState:
    """The state of one server.

    Args:
        config: of the classifier and of the server.
        access: who may ask.
        encoder: encoders that are loaded already; by default the configured ones are loaded.
    """

    def __init__(
        self, config: PipelineConfig, access: Access, encoder: Encoder | Sequence[Encoder] | None = None
    ) -> None:
        self.config: PipelineConfig = config
        self.settings: ServerConfig = config.server
        self.access: Access = access
        self._encoder = encoder
        self.metrics: Metrics = Metrics(self._gauges)
        self.held: HeldBytes = HeldBytes(config.server.max_bytes)
        self.readiness: Readiness = Readiness()
        self.is_draining: bool = False
        self.failure: Exception | None = None  # why the classifier could not be opened
        self._opened: _Parts | None = None
        self._fitting: Progress | None = None  # of the rule, while the classifier is opened
        self._watching: list[asyncio.Task[None]] = []
        self._drain: Thread | None = None
        self._ids: ExampleIds | None = None
        self._described: tuple[str, dict[str, Any]] = ("", {})  # stamp of a version, and what is in it
        self._stale: tuple[str, bool] = ("", False)  # stamp of a version, whether parts of it are stale

    async def open(self) -> None:
        """Open the classifier in another thread; keep the error where that fails."""
        try:
            opened = await asyncio.to_thread(self._open)
        except Cancelled:  # the server ends
            return
        except Exception as error:  # noqa: BLE001 - whoever runs the server tells it
            self.failure = error
            return
        self._opened = opened
        classifier, queue, editing, reviews = opened
        retention = Retention(self.settings, classifier, editing, reviews, self.thumbnails.forget)
        reviews.on_deleted = self.thumbnails.forget

        async def edit_and_forget() -> None:
            await editing.watch()  # another server may make the edits for a long time
            await retention.watch()

        watched = self.readiness.watch(queue), edit_and_forget()
        self._watching = [asyncio.create_task(one) for one in watched]

    async def close(self) -> None:
        """End what is under way, and give everything back."""
        self.start_draining()
        for task in self._watching:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(self._close)

    def start_draining(self) -> None:
        """Take no more images; those inside are answered, or end after `drain_seconds` with 503."""
        self.is_draining = True
        if self._drain is None and self._opened is not None:
            queue = self._opened[1]
            self._opened[3].stop()
            for work in self._background:
                work.stop()
            self._drain = Thread(target=queue.close, args=(self.settings.drain_seconds,), name="drain", daemon=True)
            self._drain.start()

    @property
    def classifier(self) -> HybridClassifier:
        """Return the classifier, also for requests that are inside while the server ends.

        Raises:
            ProblemError: the server starts.
        """
        return self._open_parts()[0]

    @property
    def queue(self) -> ClassifierQueue:
        """Return the queue; raise ProblemError while the server starts or ends."""
        return self._serving()[1]

    @property
    def editing(self) -> Editing:
        """Return what makes edits; raise ProblemError while the server starts or ends."""
        return self._serving()[2]

    @property
    def reviews(self) -> Reviewing:
        """Return the runs and their review; raise ProblemError while the server starts or ends."""
        return self._serving()[3]

    @property
    def ids(self) -> ExampleIds:
        """Return the ids of the version of the index that answers."""
        index, ids = self.classifier.index, self._ids
        if ids is None or ids.contents is not index.contents:
            if isinstance(index, StoreIndex) and not index.contents.paths:
                ids = StoredExampleIds(index, ids)
            else:
                ids = ExampleIds(index.contents, ids)
            self._ids = ids
        return ids

    @property
    def index_version(self) -> int | None:
        """Return the version of the index that answers, None while there is none."""
        if self._opened is None or self.is_draining:
            return None
        try:
            return self._opened[0].index_version
        except LmmClassifierError:  # such as an index without a label that may be answered
            return None

    def describe(self, contents: IndexContents) -> dict[str, Any]:
        """Return what `describe_index` says, which is read once for each version; call it in another thread."""
        config = self.classifier.config
        if self._described[0] != contents.stamp or not contents.stamp:
            self._described = contents.stamp, describe_index(config.retrieval.index_path, config)
        return self._described[1]

    @property
    def is_stale(self) -> bool:
        """Whether parts of the index were fitted to other examples."""
        index = self.classifier.index
        if self._stale[0] != index.contents.stamp:
            # a calibration of a store belongs to one version of it, so it is used or it is not
            is_stale = not isinstance(index, StoreIndex) and bool(stale_parts(index.contents))
            self._stale = index.contents.stamp, is_stale
        return self._stale[1]

    @cached_property
    def thumbnails(self) -> ThumbnailCache:
        """Return the small images of examples."""
        return ThumbnailCache(self.settings.thumbnail_bytes, self.config.images.limits)

    @cached_property
    def calibrating(self) -> Calibrating:
        """Return what calibrates; raise ProblemError while the server starts or ends."""
        classifier, _, editing, _ = self._serving()
        return Calibrating(classifier, editing)

    @cached_property
    def auditing(self) -> Auditing:
        """Return what audits the dataset; raise ProblemError while the server starts or ends."""
        return Auditing(self._serving()[0])

    @cached_property
    def mapping(self) -> DatasetMapping:
        """Return what makes the map of the dataset; raise ProblemError while the server starts or ends."""
        return DatasetMapping(self._serving()[0])

    def count(self, result: Classification, stages: Mapping[str, float]) -> None:
        """Count an image that was answered; the server is ready where the encoder and the vote had their part."""
        if "vote" in stages:
            self.readiness.answered()
        self.metrics.count_result(result, stages)

    def why_not_ready(self) -> str:
        """Return why the server is not ready, "" where it is."""
        if self.failure is not None:
            return "the index or the encoder cannot be opened"
        if self._opened is None:
            return self._starting
        if self.is_draining:
            return "the server ends"
        return "" if self.readiness.is_recent else self.readiness.failure

    @property
    def _starting(self) -> str:
        """What the start waits for."""
        fitting = self._fitting
        if fitting is None:
            return "the index and the encoder are being opened"
        how_far = f"{fitting.stage}, {fitting.done} of {fitting.total}"
        return f"the rule is fitted to the examples, because no stored calibration fits: {how_far}"

    def _serving(self) -> _Parts:
        if self.is_draining:
            raise ProblemError("draining", "The server ends.", {"Retry-After": "1", "Connection": "close"})
        return self._open_parts()

    def _open_parts(self) -> _Parts:
        if self._opened is None:
            raise ProblemError("starting", f"{self._starting[0].upper()}{self._starting[1:]}.", {"Retry-After": "2"})
        return self._opened

    def _open(self) -> _Parts:
        def report(progress: Progress) -> None:
            self._fitting = progress
            if self.is_draining:
                raise Cancelled

        with watched_start(report):
            classifier = HybridClassifier(self.config, self._encoder)
        try:
            classifier.follow_in_background()
            settings = self.settings
            queue = ClassifierQueue(
                classifier, settings.queue, settings.max_batch, settings.deadline, settings.max_bytes
            )
            editing = Editing(classifier, self.metrics)
            reviews = Reviewing(classifier, queue, settings)
        except Exception:
            classifier.close()
            raise
        editing.on_taking_over = reviews.recover
        if editing.why_not:
            logger.warning("%s", editing.why_not)
        return classifier, queue, editing, reviews

    def _close(self) -> None:
        if "thumbnails" in self.__dict__:
            self.thumbnails.close()
        if self._opened is None:
            return
        classifier, queue, editing, reviews = self._opened
        for work in self._background:
            work.close()
        if self._drain is not None:
            self._drain.join(self.settings.drain_seconds + 5)
        queue.close(0)
        reviews.close()
        editing.close()
        classifier.close()

    @property
    def _background(self) -> list[Calibrating | Auditing | DatasetMapping]:
        """What was used of the work in the background."""
        return [self.__dict__[name] for name in ("calibrating", "auditing", "mapping") if name in self.__dict__]

    def _gauges(self) -> Gauges | None:
        version = self.index_version
        if version is None or self._opened is None:
            return None
        classifier, queue, _, reviews = self._opened
        return Gauges(
            queue.statistics,
            version,
            classifier.index_lag,
            len(classifier.index),
            self.is_stale,
            reviews.open,
            reviews.drift.log10_evidence,
            reviews.drift.alarms,
        )


def state_of(request: Request) -> ServerState:
    """Return the state of the server that a request came to."""
    return cast(ServerState, request.app.state.server)
