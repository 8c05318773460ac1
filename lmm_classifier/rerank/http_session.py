"""An event loop in a background thread, and the HTTP connections that belong to it."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmm_classifier.core.optional_imports import import_optional

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

EXTRA = "openai-api"

_CLOSE_SECONDS = 2.0  # for the connections to close in an orderly way


@dataclass(slots=True)
class HttpSession:
    """An event loop in a background thread (an anyio portal), and all that belongs to this loop.

    Threads do not survive a fork: a forked process must start its own session, and may only close this one.
    """

    portal: BlockingPortal
    """Runs functions in the loop."""
    stack: ExitStack
    """Closing it stops the loop and joins its thread."""
    concurrency: int
    """Most connections."""
    slots: asyncio.Semaphore
    """One slot per request under way."""
    lock: asyncio.Lock
    """For coroutines that must take turns."""
    thread: int
    """Identifier of the thread."""
    process: int
    """Identifier of the process that started it."""
    _http: Any = None

    @classmethod
    def start(cls, concurrency: int) -> HttpSession:
        """Start a loop for at most `concurrency` requests at a time."""
        from_thread = import_optional("anyio.from_thread", EXTRA)
        stack = ExitStack()
        portal = stack.enter_context(from_thread.start_blocking_portal())
        thread = portal.call(threading.get_ident)
        slots = asyncio.Semaphore(concurrency)
        return cls(portal, stack, concurrency, slots, asyncio.Lock(), thread, os.getpid())

    @property
    def http(self) -> Any:
        """The `httpx2.AsyncClient`, created at the first request; the caller must bound the time."""
        if self._http is None:
            httpx = import_optional("httpx2", EXTRA)
            limits = httpx.Limits(max_connections=self.concurrency)
            self._http = httpx.AsyncClient(timeout=None, limits=limits, follow_redirects=False)
        return self._http

    def close(self) -> None:
        """Cancel the requests under way, close the connections and end the thread."""
        if self.process != os.getpid():
            # a forked process: the thread is in the parent only, so no loop would run `stop`, which awaits nothing
            with suppress(StopIteration, RuntimeError):  # RuntimeError: the loop is in debug mode
                self.portal.stop(cancel_remaining=True).send(None)
        elif self.thread == threading.get_ident():
            # the last reference to the client was dropped in its own loop, whose thread cannot join itself
            threading.Thread(target=self.close, name="lmm-classifier-close").start()
            return
        else:
            if self._http is not None:
                with suppress(Exception):  # the server may have broken the connections already
                    self.portal.start_task_soon(self._http.aclose).result(_CLOSE_SECONDS)
            self.portal.call(self.portal.stop, True)
        self.stack.close()
