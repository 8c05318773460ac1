"""Chat completions over HTTP that cannot hang: a total deadline, bounded replies, few retries, a circuit breaker."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar, TypeVarTuple

from lmm_classifier.core.errors import RerankerError
from lmm_classifier.core.optional_imports import import_optional, require_optional
from lmm_classifier.rerank.circuit_breaker import CircuitBreaker
from lmm_classifier.rerank.http_session import EXTRA, HttpSession
from lmm_classifier.rerank.responses import choice_of

logger = logging.getLogger(__name__)

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_MAX_REPLY_BYTES = 4 << 20  # a chat completion of a few tokens has some kilobytes
_RETRY_STATUS = {429, 502, 503, 504}  # the server did not work on the request, or asks for another attempt
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 8.0  # seconds between attempts


class CallError(Exception):
    """A request that got no usable answer.

    Args:
        reason: what happened.
        retry: whether another attempt makes sense.
        wait: seconds that the server asked to wait.
        status: HTTP status of the answer.
    """

    def __init__(self, reason: str, retry: bool = False, wait: float | None = None, status: int | None = None) -> None:
        super().__init__(reason)
        self.retry, self.wait, self.status = retry, wait, status


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where and how to ask; the fields mean the same as in the `rerank` section of the configuration."""

    base_url: str
    model_name: str
    api_key_env: str = "OPENAI_API_KEY"
    deadline: float = 30.0
    concurrency: int = 8
    retries: int = 2
    circuit_breaker_failures: int = 5
    circuit_breaker_seconds: float = 30.0


class ChatClient:
    """Sends requests from a background thread, so that it works with and without a running event loop.

    The key is read from the environment for each request. It appears in no message, log line or `repr`.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self._httpx = import_optional("httpx2", EXTRA)
        self._tenacity = import_optional("tenacity", EXTRA)
        require_optional("anyio", EXTRA)
        self.circuit_breaker = CircuitBreaker(options.circuit_breaker_failures, options.circuit_breaker_seconds)
        self._starting = threading.Lock()
        self._session: HttpSession | None = None
        self._closing: weakref.finalize[..., ChatClient] | None = None
        self.calls = 0  # requests that were sent

    def run(self, function: Callable[[*Arguments], Awaitable[T]], *arguments: *Arguments) -> T:
        """Run an asynchronous function to its end in the background thread and return its result."""
        return self._current_session().portal.call(function, *arguments)

    def close(self) -> None:
        """Close connections and thread; a later request opens new ones."""
        with self._starting:
            if self._closing is not None:
                self._closing()
            self._session = self._closing = None

    @property
    def lock(self) -> asyncio.Lock:
        """A lock for coroutines that `run` runs."""
        return self._current_session().lock

    @property
    def chat_url(self) -> str:
        """The URL of chat completions."""
        return f"{self.options.base_url}/chat/completions"

    def with_defaults(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Add what every chat completion needs: the model, and the request for the likeliest answer."""
        return {"model": self.options.model_name, "temperature": 0, **payload}

    async def chat(self, payload: dict[str, Any], until: float) -> Any:
        """Send one chat completion, with retries where they make sense, and return the decoded reply.

        A retry is always safe, because a completion changes nothing on the server.

        Args:
            payload: of the request.
            until: the deadline in the loop's time. The caller must also enforce it (`asyncio.timeout_at`). A server
                that asks for a longer wait is not asked again.

        Raises:
            CallError: if there is no usable answer.
        """
        tenacity, loop = self._tenacity, asyncio.get_running_loop()
        backoff = tenacity.wait_random_exponential(multiplier=_FIRST_WAIT, max=_LONGEST_WAIT)

        def wait(state: Any) -> float:
            requested = state.outcome.exception().wait
            return float(backoff(state) if requested is None else requested + backoff(state))

        def makes_sense(error: BaseException) -> bool:
            return isinstance(error, CallError) and error.retry and loop.time() + (error.wait or 0) < until

        attempts = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(1 + self.options.retries),
            wait=wait,
            retry=tenacity.retry_if_exception(makes_sense),
            reraise=True,
        )
        return await attempts(self._attempt, self.chat_url, self.with_defaults(payload), until)

    async def post_once(self, url: str, payload: dict[str, Any]) -> Any:
        """Post JSON without circuit breaker and retries, for requests that a server may not support."""
        async with self._current_session().slots:
            return await self._send(url, payload)

    async def guarded(self, work: Callable[[], Awaitable[T]], until: float) -> T:
        """Do work with the server unless the circuit breaker is open, and report its outcome to the breaker."""
        if blocked := self.circuit_breaker.blocked():
            raise CallError(blocked)
        try:
            result = await work()
        except CallError as error:
            self._count(error)
            raise
        except ValueError as error:
            self.circuit_breaker.failed(str(error))
            raise
        except asyncio.CancelledError:
            if asyncio.get_running_loop().time() >= until:  # no answer in time is a failure of the server
                self.circuit_breaker.failed(f"no answer within {self.options.deadline:g} s")
            else:  # another prompt of the same request failed
                self.circuit_breaker.cancelled()
            raise
        except BaseException:
            self.circuit_breaker.cancelled()
            raise
        self.circuit_breaker.succeeded()
        return result

    def _current_session(self) -> HttpSession:
        """Return the session of this process; start it where there is none, as after a fork."""
        session = self._session
        if session is not None and session.process == os.getpid():
            return session
        with self._starting:
            if self._session is None or self._session.process != os.getpid():
                if self._closing is not None:
                    self._closing()
                    self.circuit_breaker.cancelled()  # its trial request, if any, is in another process
                self._session = HttpSession.start(self.options.concurrency)
                # also closes where the client is dropped, or the interpreter exits, without a call of `close`
                self._closing = weakref.finalize(self, self._session.close)
            return self._session

    async def _attempt(self, url: str, payload: dict[str, Any], until: float) -> Any:
        async with self._current_session().slots:
            return await self.guarded(lambda: self._send_chat(url, payload), until)

    async def _send_chat(self, url: str, payload: dict[str, Any]) -> Any:
        reply = await self._send(url, payload)
        choice_of(reply)  # raises ValueError where the answer does not come from a chat server
        return reply

    def _count(self, error: CallError) -> None:
        if error.wait is not None:
            # the server works and named a time, so all requests wait and no failure is counted
            self.circuit_breaker.wait_for(error.wait, str(error))
        else:
            self.circuit_breaker.failed(str(error))

    async def _send(self, url: str, payload: dict[str, Any]) -> Any:
        httpx, http = self._httpx, self._current_session().http
        self.calls += 1
        try:
            async with http.stream("POST", url, json=payload, headers=self._headers()) as response:
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > _MAX_REPLY_BYTES:
                        raise CallError(f"the reply is longer than {_MAX_REPLY_BYTES >> 20} MiB")
        except httpx.TransportError as error:
            retry = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
            raise CallError(f"no answer: {type(error).__name__}: {error}".rstrip(": "), retry) from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise CallError(f"no usable answer: {type(error).__name__}: {error}") from error
        if response.status_code != 200:
            raise self._refusal(response.status_code, response.headers, bytes(body))
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise CallError("the reply is not JSON") from error

    def _refusal(self, status: int, headers: Any, body: bytes) -> CallError:
        text = " ".join(body[:200].decode(errors="replace").split())
        reason = f"the server answered {status}" + (f": {self._redacted(text)}" if text else "")
        wait = _seconds(headers.get("retry-after")) if status in {429, 503} else None
        return CallError(reason, status in _RETRY_STATUS, wait, status)

    def _redacted(self, text: str) -> str:
        key = os.environ.get(self.options.api_key_env, "")
        return text.replace(key, "…") if key else text

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self.options.api_key_env, "")
        if not key:
            return {}
        if not key.isascii() or not key.isprintable():
            raise RerankerError(
                f"The environment variable {self.options.api_key_env} contains characters that a key cannot have. "
                "Set it to the key of the server."
            )
        return {"Authorization": f"Bearer {key}"}


def _seconds(retry_after: str | None) -> float | None:
    """Read a Retry-After header: seconds or a date (RFC 9110, 10.2.3); None where it is missing or unreadable."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after)) if retry_after.strip().isdigit() else _seconds_until(retry_after)
    except (ValueError, TypeError):
        return None


def _seconds_until(date: str) -> float:
    moment = parsedate_to_datetime(date)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - datetime.fromtimestamp(time.time(), UTC).timestamp())
