"""Chat completions over HTTP that cannot hang: a deadline, a pace, bounded replies, few retries, a circuit breaker."""

from __future__ import annotations

import asyncio
import math
import random
import threading
import weakref
import zlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, TypeVarTuple

from lmm_classifier.core.forking import leave_to_parent, register_for_reset
from lmm_classifier.core.redaction import redact
from lmm_classifier.rerank.chat_reply import ChatReply, ReplyError, parse_reply
from lmm_classifier.rerank.endpoint import Endpoint
from lmm_classifier.rerank.http_session import HttpSession, import_http
from lmm_classifier.rerank.pacing import SlowDownError, send_paced
from lmm_classifier.rerank.requested_wait import requested_wait
from lmm_classifier.rerank.server_errors import CallError
from lmm_classifier.rerank.server_options import ServerOptions

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_MAX_REPLY_BYTES = 4 << 20  # a chat completion of a few tokens has some kilobytes
_SLOW_DOWN = {429, 503, 529}  # the server works, but does not take this request now
_RETRY_STATUS = {408, 502, 504}  # the server did not work on the request
_REFUSED_REQUEST = {400, 413, 415, 422}  # the server works, but not on this request
_SPENT = ("insufficient_quota", "billing_hard_limit_reached")  # waiting does not help
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 8.0  # seconds between attempts
_PATIENCE = 900.0  # seconds without an answer after which a measurement gives up a server that asks to wait


class ChatClient:
    """Sends requests from a background thread, so that it works with and without a running event loop.

    It survives a fork: the child process starts its own thread and connections. Keys are read from the environment for
    each request. They appear in no message, log line or `repr`.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self._httpx = import_http()
        self.endpoints: tuple[Endpoint, ...] = tuple(Endpoint(url, options) for url in options.base_urls)
        self._starting = threading.Lock()
        self._session: HttpSession | None = None
        self._closing: weakref.finalize[..., ChatClient] | None = None
        self.calls: int = 0  # requests that were sent
        register_for_reset(self)

    def run(self, function: Callable[[*Arguments], Awaitable[T]], *arguments: *Arguments) -> T:
        """Run an asynchronous function to its end in the background thread and return its result."""
        with self._starting:
            if self._session is None:
                self._session = HttpSession(self.options.concurrency)
                # also closes where the client is dropped, or the interpreter exits, without a call of `close`
                self._closing = weakref.finalize(self, self._session.close)
            session = self._session
        return session.call(function, *arguments)

    def close(self) -> None:
        """Close connections and thread; a later request opens new ones."""
        with self._starting:
            closing, self._closing, self._session = self._closing, None, None
        if closing is not None:
            closing()

    def reset_after_fork(self) -> None:
        """Leave the session to the parent process; the next request starts one."""
        if self._closing is not None:
            self._closing.detach()
        leave_to_parent(self._session)
        self._session = self._closing = None
        self._starting = threading.Lock()
        for endpoint in self.endpoints:
            endpoint.reset_after_fork()

    def shared(self, key: object, make: Callable[[], T]) -> T:
        """Return the object of that name that belongs to the loop; for coroutines that `run` runs."""
        return self._running.shared(key, make)

    async def chat(self, endpoint: Endpoint, payload: dict[str, Any], until: float, retries: int) -> ChatReply:
        """Send one chat completion, with retries where they make sense, and return the reply.

        A retry is always safe, because a completion changes nothing on the server.

        Args:
            endpoint: the server.
            payload: of the request.
            until: the deadline in the loop's time; infinite for none. The caller must also enforce it.
            retries: further attempts after a failure of the server.

        Raises:
            CallError: if there is no answer.
            ReplyError: if the answer is not a chat completion.
        """
        loop, attempt = asyncio.get_running_loop(), 0

        async def send() -> ChatReply:
            return await self.guarded(endpoint, lambda: self._completion(endpoint, payload), until)

        while True:
            try:
                return await self._paced(endpoint, send, until)
            except CallError as error:
                wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0**attempt) * random.uniform(0.5, 1)
                if not error.retry or attempt >= retries or loop.time() + wait >= until:
                    raise
            attempt += 1
            await asyncio.sleep(wait)

    async def probe_chat(self, endpoint: Endpoint, payload: dict[str, Any], until: float) -> ChatReply:
        """Send one chat completion, without circuit breaker and retries."""
        return await self._paced(endpoint, lambda: self._completion(endpoint, payload), until)

    async def fetch(self, endpoint: Endpoint, url: str, payload: dict[str, Any] | None, until: float) -> bytes:
        """Post JSON, or get where there is none, without circuit breaker and retries; return the body."""
        return await self._paced(endpoint, lambda: self._send(endpoint, url, payload), until)

    async def guarded(self, endpoint: Endpoint, work: Callable[[], Awaitable[T]], until: float) -> T:
        """Do work with a server unless its circuit breaker is open, and report the outcome to the breaker."""
        breaker = endpoint.circuit_breaker
        if blocked := breaker.blocked():
            raise CallError(blocked, fault=False)
        try:
            result = await work()
        except CallError as error:
            breaker.failed(str(error)) if error.fault else breaker.cancelled()
            raise
        except ReplyError as error:
            breaker.failed(error.describe(self.options.secrets()))
            raise
        except asyncio.CancelledError:
            if asyncio.get_running_loop().time() >= until - 0.01:  # no answer in time is a failure of the server
                breaker.failed(f"no answer within {self.options.deadline:g} s")
            else:  # another prompt of the same request failed
                breaker.cancelled()
            raise
        except BaseException:  # also a server that asks to slow down, which is no failure
            breaker.cancelled()
            raise
        breaker.succeeded()
        return result

    @property
    def _running(self) -> HttpSession:
        session = self._session
        if session is None:  # it was closed while this coroutine ran
            raise asyncio.CancelledError
        return session

    async def _paced(self, endpoint: Endpoint, send: Callable[[], Awaitable[T]], until: float) -> T:
        slots = self.shared((endpoint, "slots"), lambda: asyncio.Semaphore(self.options.concurrency))
        turn = self.shared((endpoint, "turn"), asyncio.Lock)
        async with slots:
            try:
                return await send_paced(endpoint.pacer, turn, send, until, _PATIENCE)
            except SlowDownError as error:
                raise CallError(error.reason, fault=False) from None

    async def _completion(self, endpoint: Endpoint, payload: dict[str, Any]) -> ChatReply:
        body = {"model": self.options.model_name, **payload}
        for name, value in self.options.extra_body.items():
            body.pop(name, None) if value is None else body.update({name: value})
        try:
            return parse_reply(await self._send(endpoint, f"{endpoint.url}/chat/completions", body))
        except ReplyError as error:
            reason = error.describe(self.options.secrets())
            if error.status in _SLOW_DOWN and not any(word in reason for word in _SPENT):
                raise SlowDownError(reason) from None
            raise

    async def _send(self, endpoint: Endpoint, url: str, payload: dict[str, Any] | None) -> bytes:
        httpx = self._httpx
        headers = {"Accept-Encoding": "identity", **self.options.headers()}
        self.calls += 1
        try:
            async with asyncio.timeout(self.options.deadline):
                http, method = self._running.http(endpoint.proxy), "GET" if payload is None else "POST"
                async with http.stream(method, url, json=payload, headers=headers) as response:
                    body = await _bounded(response)
        except TimeoutError:
            raise CallError(f"no answer{_through(endpoint)} within {self.options.deadline:g} s") from None
        except httpx.TransportError as error:
            retry = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
            text = self.options.quote(f"{type(error).__name__}: {error}".rstrip(": "))
            raise CallError(f"no answer{_through(endpoint)}: {text}", retry) from None
        except (
            httpx.HTTPError,
            httpx.InvalidURL,
            httpx.StreamError,
            ValueError,
            ImportError,
        ) as error:
            text = self.options.quote(f"{type(error).__name__}: {error}")
            raise CallError(f"no usable answer{_through(endpoint)}: {text}") from None
        if response.status_code != 200:
            raise self._refusal(endpoint, response.status_code, response.headers, body)
        return body

    def _refusal(self, endpoint: Endpoint, status: int, headers: Any, body: bytes) -> CallError | SlowDownError:
        whole = body[:4000].decode(errors="replace")
        text = self.options.quote(whole)
        by = _through(endpoint) if status == 407 else ""
        reason = f"the server answered{by} {status}" + (f": {text}" if text else "")
        if status in _SLOW_DOWN and not any(word in whole for word in _SPENT):
            return SlowDownError(reason, requested_wait(headers))
        return CallError(reason, status in _RETRY_STATUS, status, status not in _REFUSED_REQUEST)


def _through(endpoint: Endpoint) -> str:
    """Name the proxy, where there is one."""
    return f" through the proxy {redact(endpoint.proxy)}" if endpoint.proxy else ""


async def _bounded(response: Any) -> bytes:
    """Return the body, decompressed; raise CallError where it is longer than 4 MiB or compressed in another way."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
        raise CallError("the reply is compressed, although that was not accepted")
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32) if encoding not in {"", "identity"} else None
    body = bytearray()
    async for chunk in response.aiter_raw():
        try:
            body += unpack.decompress(chunk, _MAX_REPLY_BYTES + 1 - len(body)) if unpack else chunk
        except zlib.error:
            raise CallError("the reply is not compressed as its header says") from None
        if len(body) > _MAX_REPLY_BYTES:
            raise CallError(f"the reply is longer than {_MAX_REPLY_BYTES >> 20} MiB")
        if unpack is not None and unpack.eof:
            break
    return bytes(body)


def seconds_left(until: float) -> float:
    """Return the seconds until a deadline in the loop's time."""
    return math.inf if until == math.inf else until - asyncio.get_running_loop().time()
