"""Edits of the index, one after the other in a thread of their own; one server at a time makes them."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from lmm_classifier.core.errors import QueueFullError
from lmm_classifier.core.index_location import IndexLocation
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.build.reports import EditReport
from lmm_classifier.index.formats import has_durable_name, has_npz_name
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.server.metrics import Metrics
from lmm_classifier.server.problems import ProblemError

logger: logging.Logger = logging.getLogger(__name__)

LOCK = "server.lock"  # in the folder of the index, held by the server that makes edits
_WAITING = 32  # edits that may wait
_VISIBLE = 10.0  # seconds to wait until an edit counts
_AGAIN = 2.0  # seconds until a server that only reads tries to become the one that makes edits
Result = TypeVar("Result")
_REMEMBERED = 1000  # answers to requests with a key


class Editing:
    """Makes the edits that requests ask for.

    A second server on the same index makes none, and follows those of the first. When the first has ended, it makes
    them: it tries when an edit is asked for, and every few seconds while `watch` runs.

    Args:
        classifier: has the index.
        metrics: count the edits.
    """

    def __init__(self, classifier: HybridClassifier, metrics: Metrics) -> None:
        self._classifier, self._metrics = classifier, metrics
        self._waiting = 0
        self._edit_thread = ThreadPoolExecutor(1, "edit")
        self._wait_threads = ThreadPoolExecutor(4, "visible")
        self._answers: OrderedDict[str, tuple[str, asyncio.Future[Any]]] = OrderedDict()
        self._writer = _Writer(classifier.config.retrieval.index_path)
        self.on_taking_over: Callable[[], object] = lambda: None  # called in the thread of edits, before the first one

    @property
    def why_not(self) -> str:
        """Return why this server makes no edits, "" where it makes them."""
        return self._writer.why_not

    @property
    def may_take_over(self) -> bool:
        """Whether this server makes no edits now, and makes them when it can get the right to."""
        return self._writer.may_change

    async def watch(self) -> None:
        """Try again and again to make edits, until this server makes them."""
        while self.may_take_over and not await asyncio.to_thread(self.take_over):
            await asyncio.sleep(_AGAIN)

    def take_over(self) -> bool:
        """Become the server that makes edits, where no other one does; return whether this one makes them now."""
        if self._writer.take():
            logger.warning("The server that made the edits of this index has ended. This one makes them now.")
            with suppress(RuntimeError):  # this server ends
                self._edit_thread.submit(self._took_over)
        return not self._writer.why_not

    def _took_over(self) -> None:
        try:
            self.on_taking_over()
        except Exception:
            logger.exception("What the former server left cannot be finished.")

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
            message = f"{self._waiting} edits wait, which is the limit."
            raise QueueFullError(message, 1.0, self._waiting, _WAITING, "edits")
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
        """Raise ProblemError where this server makes no edits; it tries first to become the one that makes them."""
        if self.why_not and not self.take_over():
            raise ProblemError("read-only", self.why_not)

    def close(self) -> None:
        """Wait for the edit under way, and let another server make edits."""
        self._edit_thread.shutdown(cancel_futures=True)
        self._wait_threads.shutdown(wait=False, cancel_futures=True)
        self._writer.close()

    def _forget_failure(self, key: str, done: asyncio.Future[Any]) -> None:
        if done.cancelled() or done.exception() is not None:
            self._answers.pop(key, None)


class _Writer:
    """The right to make edits: a lock that the system takes back when its process ends, however that ends."""

    def __init__(self, index: IndexLocation) -> None:
        self._guard, self._is_closed, self._is_taken = Lock(), False, False
        self._lock: FileLock | None = None
        self.why_not = ""
        if not has_durable_name(index):
            what = "an .npz file" if has_npz_name(index) else "a table"
            self.why_not = f"This server only reads, because the index is {what}, which cannot be edited."
            return
        self._lock = FileLock(Path(index) / LOCK, timeout=0, thread_local=False)
        self._try()

    @property
    def may_change(self) -> bool:
        """Whether this server makes no edits now and may do so later."""
        return bool(self.why_not) and self._lock is not None and not self._is_closed

    def take(self) -> bool:
        """Try to get the right; return whether this call got it."""
        return self.may_change and self._try()

    def close(self) -> None:
        """Give the right back, and take it no more."""
        with self._guard:
            self._is_closed = True
            if self._lock is not None and self._is_taken:
                self._lock.release()

    def _try(self) -> bool:
        """Return whether this call got the lock; it does not wait."""
        with self._guard:
            if self._is_closed or self._is_taken or self._lock is None:
                return False
            try:
                self._lock.acquire()
            except Timeout:
                self.why_not = "This server only reads, because another one makes the edits."
            except OSError as error:
                self.why_not = f"This server only reads, because the index cannot be changed: {type(error).__name__}."
            else:
                self._is_taken, self.why_not = True, ""
            return self._is_taken
