"""An event loop in a background thread, and the HTTP connections that belong to it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar, TypeVarTuple

from lmm_classifier.core.errors import RerankerError
from lmm_classifier.core.optional_imports import import_optional

EXTRA = "openai-api"

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_CLOSE_SECONDS = 2.0  # for the connections to close in an orderly way
_CHECK_SECONDS = 1.0  # between two looks at whether the thread still lives


class HttpSession:
    """An event loop in a background thread, and all that belongs to this loop.

    Threads do not survive a fork. A forked process must leave this session alone, without closing it: the sockets and
    the selector of the loop are shared with the parent process.

    Args:
        concurrency: most connections for each server.
    """

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._loop = asyncio.new_event_loop()
        self._shared: dict[object, Any] = {}
        self._clients: dict[str | None, Any] = {}
        self._process = os.getpid()
        self._closed = False
        self._thread = threading.Thread(target=self._loop.run_forever, name="lmm-classifier-http", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[*Arguments], Awaitable[T]], *arguments: *Arguments) -> T:
        """Run an asynchronous function to its end in the thread of the loop, and return its result.

        Raises:
            RerankerError: if the session is closed meanwhile.
        """

        async def run() -> T:
            return await function(*arguments)

        future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        try:
            return self._result(future)
        except CancelledError:
            raise RerankerError("The connection to the server was closed while requests were under way.") from None
        except BaseException:
            future.cancel()  # an interruption: nobody waits for the answers
            raise

    def shared(self, key: object, make: Callable[[], T]) -> T:
        """Return the object of that name that belongs to the loop, such as a lock; the first call makes it."""
        if key not in self._shared:
            self._shared[key] = make()
        shared: T = self._shared[key]
        return shared

    def http(self, proxy: str | None) -> Any:
        """Return the `httpx2.AsyncClient` for a proxy, or for none; the caller must bound the time."""
        if proxy not in self._clients:
            httpx = import_http()
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=self._concurrency)
            transport = httpx.AsyncHTTPTransport(limits=limits, proxy=proxy)  # never one of the environment
            self._clients[proxy] = httpx.AsyncClient(timeout=None, transport=transport, follow_redirects=False)
        return self._clients[proxy]

    def close(self) -> None:
        """Cancel the requests under way, close the connections and end the thread."""
        if self._process != os.getpid() or self._closed:
            return
        if self._thread is threading.current_thread():
            # the last reference to the client was dropped in its own loop, whose thread cannot join itself
            threading.Thread(target=self.close, name="lmm-classifier-close").start()
            return
        self._closed = True
        with suppress(Exception):  # the server may have broken the connections already
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_CLOSE_SECONDS + 1)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    async def _end(self) -> None:
        current = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not current]
        for task in tasks:
            task.cancel()
        closing = [client.aclose() for client in self._clients.values()]
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await asyncio.gather(*tasks, *closing, return_exceptions=True)

    def _result(self, future: Future[T]) -> T:
        while True:
            try:
                return future.result(_CHECK_SECONDS)
            except TimeoutError:
                if future.done():
                    return future.result()
                if not self._thread.is_alive():
                    raise RerankerError("The thread that asks the server has ended.") from None


@cache
def import_http() -> Any:
    """Import all that a request needs, and return `httpx2`.

    A process that is forked while another thread imports a module keeps half of the module for ever. So the thread that
    makes a client imports everything, before any other thread asks.
    """
    httpx = import_optional("httpx2", EXTRA)
    import_optional("httpcore2", EXTRA)
    session = HttpSession(1)
    session.call(import_optional("anyio.lowlevel", EXTRA).checkpoint)  # loads what belongs to asyncio
    session.close()
    "host".encode("idna")
    return httpx
