"""Chat completions over HTTP that cannot hang: a total deadline, bounded replies, careful retries, a breaker."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from lmm_classifier.core.errors import RerankerError
from lmm_classifier.core.optional_imports import load_module
from lmm_classifier.rerank.circuit_breaker import Breaker
from lmm_classifier.rerank.responses import choice_of

logger = logging.getLogger(__name__)

T = TypeVar("T")

_EXTRA = "openai-api"
_MOST_BYTES = 4 << 20  # of one reply; a chat completion of a few tokens has some kilobytes
_TRY_AGAIN = {429, 502, 503, 504}  # the server did not work on it, or says that trying again makes sense
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 8.0  # seconds


class CallError(Exception):
    """A request that gave no answer; `again` says whether another attempt makes sense, `wait` how long to wait."""

    def __init__(self, reason: str, again: bool = False, wait: float | None = None, status: int | None = None) -> None:
        super().__init__(reason)
        self.again, self.wait, self.status = again, wait, status


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where and how to ask; the meanings are those of the `rerank` section of the configuration."""

    base_url: str
    model_name: str
    api_key_env: str = "OPENAI_API_KEY"
    deadline: float = 30.0
    concurrency: int = 8
    retries: int = 2
    breaker_failures: int = 5
    breaker_seconds: float = 30.0


class _LoopThread:
    """An event loop in a thread of its own, and the connections that live in it."""

    def __init__(self) -> None:
        self.client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="lmm-classifier-http", daemon=True)
                self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        with self._starting:
            loop, thread, client = self._loop, self._thread, self.client
            self._loop = self._thread = self.client = None
        if loop is None or thread is None:
            return
        if client is not None:
            with suppress(Exception):  # connections that cannot even be closed are gone all the same
                asyncio.run_coroutine_threadsafe(client.aclose(), loop).result(2)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(2)
        if not loop.is_running():
            loop.close()


class ChatClient:
    """Sends requests from a thread of its own, so that it works with and without an event loop around it.

    The key is read from the environment when a request is made; it stands in no message, log line or `repr`.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self._httpx = load_module("httpx2", _EXTRA)
        self._tenacity = load_module("tenacity", _EXTRA)
        self.breaker = Breaker(options.breaker_failures, options.breaker_seconds)
        self._thread = _LoopThread()
        self._closing = weakref.finalize(self, self._thread.close)  # also when nobody says close
        self._slots: asyncio.Semaphore | None = None
        self.calls = 0  # requests that really left

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run asynchronous work to its end and return what it returns."""
        return self._thread.run(work)

    def close(self) -> None:
        """Close connections and the thread; the client is of no use afterwards."""
        self._closing()

    async def chat(self, payload: dict[str, Any], until: float) -> Any:
        """Send one chat completion, again where that is safe, and return the decoded reply; raises CallError.

        A completion changes nothing on the server, so asking again is safe; whether it makes sense, the failure tells.
        Whoever calls this does so under a deadline (`asyncio.timeout_at`); `until`, the loop's time, is that deadline:
        a server that wants to be left alone for longer is not waited for.
        """
        tenacity, loop = self._tenacity, asyncio.get_running_loop()
        backoff = tenacity.wait_random_exponential(multiplier=_FIRST_WAIT, max=_LONGEST_WAIT)

        def wait(state: Any) -> float:
            told = state.outcome.exception().wait
            return float(backoff(state) if told is None else told + backoff(state))

        def makes_sense(error: BaseException) -> bool:
            return isinstance(error, CallError) and error.again and loop.time() + (error.wait or 0) < until

        attempts = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(1 + self.options.retries),
            wait=wait,
            retry=tenacity.retry_if_exception(makes_sense),
            reraise=True,
        )
        return await attempts(self._attempt, self.chat_url, self.filled(payload), until)

    @property
    def chat_url(self) -> str:
        """Where chat completions are asked for."""
        return f"{self.options.base_url}/chat/completions"

    def filled(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Add what every chat completion says: the model, and that the likeliest answer is wanted."""
        return {"model": self.options.model_name, "temperature": 0, **payload}

    async def once(self, url: str, payload: dict[str, Any]) -> Any:
        """Post JSON once, past breaker and retries: for requests that a server may well not know."""
        async with self._slot():
            return await self._send(url, payload)

    async def guarded(self, work: Callable[[], Awaitable[T]], until: float) -> T:
        """Do work with the server unless the breaker is open, and tell the breaker how it went."""
        if refusal := self.breaker.refusal():
            raise CallError(refusal)
        try:
            done = await work()
        except CallError as error:
            self._count(error)
            raise
        except ValueError as error:
            self.breaker.failed(str(error))
            raise
        except asyncio.CancelledError:
            if asyncio.get_running_loop().time() >= until:  # no answer in time is a failure of the server
                self.breaker.failed(f"no answer within {self.options.deadline:g} s")
            else:  # another request of the same question failed
                self.breaker.gave_up()
            raise
        except BaseException:
            self.breaker.gave_up()
            raise
        self.breaker.succeeded()
        return done

    async def _attempt(self, url: str, payload: dict[str, Any], until: float) -> Any:
        async with self._slot():
            return await self.guarded(lambda: self._send_chat(url, payload), until)

    def _slot(self) -> asyncio.Semaphore:
        if self._slots is None:
            self._slots = asyncio.Semaphore(self.options.concurrency)
        return self._slots

    async def _send_chat(self, url: str, payload: dict[str, Any]) -> Any:
        reply = await self._send(url, payload)
        choice_of(reply)  # raises ValueError: whatever answers there is no chat server
        return reply

    def _count(self, error: CallError) -> None:
        if error.wait is not None:
            # it is alive and said when to come back: everyone waits, nobody is counted out
            self.breaker.wait_for(error.wait, str(error))
        else:
            self.breaker.failed(str(error))

    async def _send(self, url: str, payload: dict[str, Any]) -> Any:
        httpx, thread = self._httpx, self._thread
        if thread.client is None:
            limits = httpx.Limits(max_connections=self.options.concurrency)
            thread.client = httpx.AsyncClient(timeout=None, limits=limits, follow_redirects=False)
        self.calls += 1
        try:
            async with thread.client.stream("POST", url, json=payload, headers=self._headers()) as response:
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > _MOST_BYTES:
                        raise CallError(f"the reply is longer than {_MOST_BYTES >> 20} MiB")
        except httpx.TransportError as error:
            again = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
            raise CallError(f"no answer: {type(error).__name__}: {error}".rstrip(": "), again) from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise CallError(f"no usable answer: {type(error).__name__}: {error}") from error
        if response.status_code != 200:
            raise self._refused(response.status_code, response.headers, bytes(body))
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise CallError("the reply is no JSON") from error

    def _refused(self, status: int, headers: Any, body: bytes) -> CallError:
        said = " ".join(body[:200].decode(errors="replace").split())
        reason = f"the server answered {status}" + (f": {self._without_key(said)}" if said else "")
        wait = _seconds(headers.get("retry-after")) if status in {429, 503} else None
        return CallError(reason, status in _TRY_AGAIN, wait, status)

    def _without_key(self, text: str) -> str:
        key = os.environ.get(self.options.api_key_env, "")
        return text.replace(key, "…") if key else text

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self.options.api_key_env, "")
        if not key:
            return {}
        if not key.isascii() or not key.isprintable():
            raise RerankerError(f"the variable {self.options.api_key_env} holds characters that no key can have")
        return {"Authorization": f"Bearer {key}"}


def _seconds(retry_after: str | None) -> float | None:
    """Read a Retry-After header: seconds, or a date (RFC 9110, 10.2.3); None where there is none to read."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after)) if retry_after.strip().isdigit() else _until(retry_after)
    except (ValueError, TypeError):
        return None


def _until(date: str) -> float:
    moment = parsedate_to_datetime(date)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - datetime.fromtimestamp(time.time(), UTC).timestamp())
