"""Runs as jobs: folders are classified one after the other in a thread, uploads in another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock

from lmm_classifier.core.errors import Cancelled, DatasetError, LmmClassifierError, QueueFullError, ReviewError
from lmm_classifier.core.progress import Progress
from lmm_classifier.review.images import FolderImages
from lmm_classifier.review.reviewer import Reviewer
from lmm_classifier.review.storage.records import Run
from lmm_classifier.server.config import ServerConfig
from lmm_classifier.server.reviewing.courtesy import BATCH, Courtesy

logger: logging.Logger = logging.getLogger(__name__)

_UPLOADS = 16  # requests with images for runs that may wait
_ENDING = 60.0  # seconds to wait for the batch under way


@dataclass
class _Job:
    """A run over a folder that waits or is under way."""

    is_cancelled: Event = field(default_factory=Event)
    has_begun: bool = False
    future: Future[None] = field(default_factory=Future)


class RunJobs:
    """Classifies the images of runs in the background.

    Args:
        reviewer: stores the runs.
        courtesy: lets requests go first.
        on_change: called in a thread with a run that changed, and whether it is under way, so that it changes often.
        settings: with the limits of runs.
    """

    def __init__(
        self, reviewer: Reviewer, courtesy: Courtesy, on_change: Callable[[int, bool], None], settings: ServerConfig
    ) -> None:
        self._reviewer, self._courtesy, self._on_change = reviewer, courtesy, on_change
        self._max, self._max_bytes = settings.max_run_images, settings.max_upload_bytes
        self._jobs: dict[int, _Job] = {}
        self._failures: dict[int, str] = {}
        self._lock, self._is_closing, self._uploading = Lock(), Event(), 0
        self._stored: int | None = None  # bytes of all uploads
        self._folders = ThreadPoolExecutor(1, "runs")
        self._uploads = ThreadPoolExecutor(1, "uploads")

    def start(self, run: int) -> None:
        """Begin or go on with a run over a folder in the background, unless it is under way already."""
        with self._lock:
            if run in self._jobs or self._is_closing.is_set():
                return
            self._reviewer.active.begin(run)  # also while it waits: it is no interrupted one
            job = self._jobs[run] = _Job()
            self._failures.pop(run, None)
            job.future = self._folders.submit(self._work, run, job)

    def cancel(self, run: int, wait: bool = False) -> None:
        """Stop a run after the batch under way; what is done stays, and it can go on. With `wait` it has ended then."""
        with self._lock:
            job = self._jobs.get(run)
            if job is None:
                return
            job.is_cancelled.set()
        if job.future.cancel():
            self._end(run)
            self._reviewer.runs.set_state(run, "cancelled")
            self._on_change(run, False)
        elif wait:
            with suppress(CancelledError):
                job.future.exception(_ENDING)

    def state_of(self, run: Run) -> str:
        """Return the state of a run as it is now, more exactly where it is this server that works on it."""
        with self._lock:
            job = self._jobs.get(run.id)
            if job is not None:
                return "running" if job.has_begun else "waiting"
        return self._reviewer.active.state_of(run)

    def failure_of(self, run: int) -> str | None:
        """Return why a run failed, None where it did not, or where that was before the server started."""
        return self._failures.get(run)

    async def add(self, run: int, images: Sequence[tuple[str, bytes]]) -> list[int]:
        """Classify uploaded images, in turn with those of other requests; return the ids of their items.

        Raises:
            QueueFullError: too many requests wait; nothing was done.
        """
        if self._uploading >= _UPLOADS:
            message = f"{self._uploading} uploads wait, which is the limit."
            raise QueueFullError(message, 1.0, self._uploading, _UPLOADS, "uploads")
        self._uploading += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._uploads, self._add, run, images)
        finally:
            self._uploading -= 1

    def close(self) -> None:
        """Stop after the batches under way; runs that are not done can go on at the next start."""
        self._is_closing.set()
        self._folders.shutdown(cancel_futures=True)
        for run in [*self._jobs]:  # those that waited
            self._end(run)
        self._uploads.shutdown(cancel_futures=True)

    def _add(self, run: int, images: Sequence[tuple[str, bytes]]) -> list[int]:
        known = self._reviewer.runs.run(run)
        if known.items + len(images) > self._max:
            raise ReviewError(f"A run has at most {self._max:,} images. Start another run.")
        self._reserve(sum(len(data) for _, data in images))
        ids = list[int]()
        for start in range(0, len(images), BATCH):
            began = self._courtesy.now()
            ids += self._reviewer.add_uploads(run, images[start : start + BATCH])
            self._courtesy.pause(began, self._is_closing.is_set)
        self._on_change(run, True)
        return ids

    def _reserve(self, size: int) -> None:
        if self._stored is None or self._stored + size > self._max_bytes:
            self._stored = self._reviewer.uploads.stored_bytes()
        if self._stored + size > self._max_bytes:
            raise ReviewError(f"The uploads of all runs may have {self._max_bytes:,} bytes. Delete a run.")
        self._stored += size

    def _work(self, run: int, job: _Job) -> None:
        job.has_begun, began = True, self._courtesy.now()

        def after_batch(_: Progress) -> None:
            nonlocal began
            self._on_change(run, True)
            began = self._courtesy.pause(began, lambda: job.is_cancelled.is_set() or self._is_closing.is_set())
            if job.is_cancelled.is_set() or self._is_closing.is_set():
                raise Cancelled("stopped between two batches")

        try:
            self._classify(run, after_batch)
        except Cancelled:
            if not job.is_cancelled.is_set():  # the server ends: the run is one that can go on
                self._reviewer.runs.set_state(run, "running")
        except Exception as error:  # noqa: BLE001 - the run shows it
            self._fail(run, error)
        self._end(run)
        self._on_change(run, False)

    def _classify(self, run: int, after_batch: Callable[[Progress], None]) -> None:
        folder = Path(self._reviewer.runs.run(run).source["folder"])
        if not folder.exists():
            raise DatasetError("The folder is not there any more.")
        source = FolderImages(folder)
        if len(source) > self._max:
            raise DatasetError(f"The folder has {len(source):,} images, and a run has at most {self._max:,}.")
        self._reviewer.runs.set_state(run, "running", len(source))
        self._on_change(run, False)
        self._reviewer.resume(run, after_batch, source, BATCH)

    def _fail(self, run: int, error: Exception) -> None:
        is_known = isinstance(error, DatasetError | ReviewError)
        logger.error("Run %s failed: %s: %s", run, type(error).__name__, error, exc_info=not is_known)
        self._failures[run] = str(error) if is_known else f"{type(error).__name__}. The log of the server has more."
        with suppress(LmmClassifierError):
            self._reviewer.runs.set_state(run, "failed")

    def _end(self, run: int) -> None:
        with self._lock:
            if self._jobs.pop(run, None) is not None:
                self._reviewer.active.end(run)
