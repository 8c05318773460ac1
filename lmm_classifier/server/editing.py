"""Edits of the index, one after the other in a thread of their own; one server at a time makes them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from lmm_classifier.core.errors import IndexFileError, QueueFullError
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.build.reports import EditReport
from lmm_classifier.index.formats import has_npz_name
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.server.metrics import Metrics
from lmm_classifier.server.problems import ProblemError

LOCK = "server.lock"  # in the folder of the index, held by the server that makes edits
_WAITING = 32  # edits that may wait
_VISIBLE = 10.0  # seconds to wait until an edit counts
Result = TypeVar("Result")
_REMEMBERED = 1000  # answers to requests with a key


class Editing:
    """Makes the edits that requests ask for.

    A second server on the same index makes none, and follows those of the first.
    """

    def __init__(self, classifier: HybridClassifier, metrics: Metrics) -> None:
        self._classifier, self._metrics = classifier, metrics
        self._waiting = 0
        self._edit_thread = ThreadPoolExecutor(1, "edit")
        self._wait_threads = ThreadPoolExecutor(4, "visible")
        self._answers: OrderedDict[str, tuple[str, asyncio.Future[Any]]] = OrderedDict()
        self._lock, self.why_not = _writer_lock(classifier.config.retrieval.index_path)

    async def run(self, kind: str, edit: Callable[[IndexEditor], EditReport], visible: bool = True) -> EditReport:
        """Make one edit and return its report.

        Args:
            kind: counts in the metrics.
            edit: makes the edit; it runs in another thread.
            visible: wait until results take the edit into account, at most some seconds.

        Raises:
            ProblemError: this server makes no edits.
            QueueFullError: too many wait.
        """
        report = await self.in_turn(lambda: edit(self._classifier.editor()))
        if report.edit is not None:
            self._metrics.edits.labels(kind).inc()
            if visible:
                await self.wait()
        return report

    async def in_turn(self, work: Callable[[], Result]) -> Result:
        """Do something that may edit the index in another thread, after the edits before, and return its result.

        Raises what `run` raises.
        """
        self.require_writer()
        if self._waiting >= _WAITING:
            raise QueueFullError(f"{self._waiting} edits wait, which is the limit.", 1.0, self._waiting, _WAITING)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._edit_thread, work)
        finally:
            self._waiting -= 1

    async def wait(self) -> bool:
        """Wait until all edits made before count, at most some seconds; return whether they do."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._wait_threads, self._classifier.wait_for_index, _VISIBLE)

    async def once(self, key: str | None, request: str, answer: Callable[[], Awaitable[Any]]) -> Any:
        """Return the answer to a request; one that is sent again with the same key gets the first answer.

        Raises:
            ProblemError: the key was sent with another request.
        """
        if key is None:
            return await answer()
        if key in self._answers:
            known, future = self._answers[key]
            if known != request:
                raise ProblemError("refused-edit", "The Idempotency-Key was sent before with another request.")
            return await asyncio.shield(future)
        future = asyncio.ensure_future(answer())
        self._answers[key] = request, future
        future.add_done_callback(lambda done: self._forget_failure(key, done))
        while len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)
        return await asyncio.shield(future)

    def require_writer(self) -> None:
        """Raise ProblemError where this server makes no edits."""
        if self.why_not:
            raise ProblemError("read-only", self.why_not)

    def close(self) -> None:
        """Wait for the edit under way, and let another server make edits."""
        self._edit_thread.shutdown(cancel_futures=True)
        self._wait_threads.shutdown(wait=False, cancel_futures=True)
        if self._lock is not None:
            self._lock.release()

    def _forget_failure(self, key: str, done: asyncio.Future[Any]) -> None:
        if done.cancelled() or done.exception() is not None:
            self._answers.pop(key, None)


def _writer_lock(index: Path) -> tuple[FileLock | None, str]:
    """Return the lock of the server that makes edits, or why this one makes none."""
    if has_npz_name(index):
        return None, "The index is an .npz file, which cannot be edited."
    lock = FileLock(index / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return (
            None,
            "Another server on the same index makes the edits, and this one follows them. "
            "Start this one again when the other one has ended.",
        )
    except (OSError, IndexFileError) as error:
        return None, f"The index cannot be changed: {type(error).__name__}."
    return lock, ""
