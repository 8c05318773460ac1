"""A job that a thread repeats until its owner is closed or no longer used; a forked process starts a thread anew."""

from __future__ import annotations

import atexit
import logging
import weakref
from collections.abc import Callable
from threading import Event, Thread, current_thread

from lmm_classifier.core.concurrency import lower_priority
from lmm_classifier.core.errors import Cancelled
from lmm_classifier.core.forking import ForkSafeLock, register_for_reset
from lmm_classifier.core.progress import Progress

logger: logging.Logger = logging.getLogger(__name__)

_EVERY = 0.1  # seconds between two calls
_PATIENCE = 10.0  # seconds that `stop` waits; a call that lasts longer ends later, without effect

_JOBS: weakref.WeakSet[BackgroundJob] = weakref.WeakSet()  # stopped when the program ends


class BackgroundJob:
    """Calls a method again and again in a thread of its own.

    The thread does not keep the owner of the method in memory, and ends with it.
    """

    def __init__(self, method: Callable[[], None]) -> None:
        self._method = weakref.WeakMethod(method)
        self._stopping = Event()
        self._thread: Thread | None = None
        self._lock = ForkSafeLock()
        register_for_reset(self)
        _JOBS.add(self)

    def ensure_started(self) -> None:
        """Start the thread where none runs; none does in a process that was just forked."""
        if self._thread is None and not self._stopping.is_set():
            with self._lock:
                if self._thread is None:
                    self._thread = Thread(
                        target=_repeat, args=(self._method, self._stopping), name="follow-index", daemon=True
                    )
                    self._thread.start()

    def check(self, _: Progress) -> None:
        """Stop a long call where the job is to end: a progress callback that then raises Cancelled."""
        if self._stopping.is_set():
            raise Cancelled("The index is not followed any more.")

    def stop(self) -> None:
        """End the thread, and wait for it."""
        self._stopping.set()
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not current_thread():
            thread.join(_PATIENCE)

    def reset_after_fork(self) -> None:
        """Forget the thread, which is the parent's."""
        self._thread = None
        stopping, self._stopping = self._stopping, Event()
        if stopping.is_set():
            self._stopping.set()


def _repeat(method: weakref.WeakMethod[Callable[[], None]], stopping: Event) -> None:
    lower_priority()
    while not stopping.wait(_EVERY):
        if (call := method()) is None:
            return
        try:
            call()
        except Exception:
            logger.exception("The index cannot be followed now; it is tried again.")
        del call


@atexit.register
def _stop_all() -> None:
    """End the threads before the interpreter does: one that is inside a native library then would abort the program."""
    for job in list(_JOBS):
        job.stop()
