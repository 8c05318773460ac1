"""Deadlines and sizes that uvicorn does not keep: slow headers, slow bodies, clients that do not read.

This extends a class of uvicorn that is not part of its stable interface. A test compares its source with the one that
this file was written for.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from lmm_classifier.server.config import ServerConfig
from lmm_classifier.server.problems import (
    MEDIA_TYPE,
    PROBLEMS,
    ProblemError,
    instance_of,
    problem_response,
    problem_values,
)
from lmm_classifier.server.security.headers import HEADERS

_PIPELINED = 16  # requests that a connection may send ahead
_SPARE = 256  # connections above the limit that still get an answer


class DeadlineProtocol(HttpToolsProtocol):
    """A connection that is closed where its client is too slow, sends too much, or does not read.

    The headers of a request must arrive in `header_seconds`. A body must arrive in `body_seconds` and then at
    `body_rate`; time in which the server itself does not read counts for nobody.
    """

    limits: ClassVar[ServerConfig] = ServerConfig()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._phase: Literal["idle", "headers", "body"] = "idle"
        self._timer: asyncio.TimerHandle | None = None  # of the phase
        self._write_timer: asyncio.TimerHandle | None = None
        self._raw_bytes, self._header_bytes, self._body_bytes = 0, 0, 0
        self._body_started = 0.0
        self._was_paused = False  # the server did not read for a while
        self._is_cut = False

    @classmethod
    def within(cls, limits: ServerConfig, on_refused: Callable[[str], None]) -> type[DeadlineProtocol]:
        """Return this class with other limits.

        Args:
            limits: of the connections.
            on_refused: called with the type of the problem where a limit is passed.
        """
        return type(cls.__name__, (cls,), {"limits": limits, "on_refused": staticmethod(on_refused)})

    @staticmethod
    def on_refused(slug: str) -> None:
        """Take the type of the problem for which a connection or a request is refused; `within` gives another one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request; a connection above the limit gets a problem as its answer."""
        super().connection_made(transport)  # type: ignore[arg-type]
        _send_at_once(transport)
        above = len(self.connections) - self.limits.connections
        if above > _SPARE:
            self._cut("too-many-connections", "Too many connections are open.")
            return
        if above > 0:
            self.app = _too_many_connections
            self.on_refused("too-many-connections")
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._is_cut = True
        self._stop(self._timer)
        self._stop(self._write_timer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        if self._is_cut:
            return
        if self._phase == "idle":
            self._expect_headers()
        self._raw_bytes += len(data)
        super().data_received(data)
        if self._phase == "headers" and self._raw_bytes > self.limits.max_headers:
            self._refuse_headers()

    def on_message_begin(self) -> None:
        """Begin with the next request."""
        if self._phase != "headers":
            self._expect_headers()
        self._raw_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the address."""
        self._count_headers(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._count_headers(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin with the body."""
        if self._is_cut:
            return
        if len(self.pipeline) >= _PIPELINED:
            self._cut("malformed-request", f"More than {_PIPELINED} requests were sent before the first answer.")
            return
        self._phase, self._body_bytes, self._was_paused = "body", 0, False
        self._body_started = self.loop.time()
        self._arm(self.limits.body_seconds, self._check_body)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if self._is_cut:
            return
        self._body_bytes += len(body)
        super().on_body(body)
        self._was_paused = self._was_paused or self.flow.read_paused

    def on_message_complete(self) -> None:
        """End the request; the next one may begin."""
        if self._is_cut:
            return
        self._phase = "idle"
        self._stop(self._timer)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin with the next request, or wait for one; a client must take what is left of a last answer."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._abort_later()

    def pause_writing(self) -> None:
        """Begin to wait for a client that does not read."""
        super().pause_writing()
        self._abort_later()

    def resume_writing(self) -> None:
        """Go on with a client that reads again."""
        if not self.transport.is_closing():
            self._stop(self._write_timer)
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """End a connection without a request."""
        super().timeout_keep_alive_handler()
        self._abort_later()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._cut("malformed-request", msg)

    def _expect_headers(self) -> None:
        self._phase, self._raw_bytes, self._header_bytes = "headers", 0, 0
        self._arm(self.limits.header_seconds, self._check_headers)

    def _count_headers(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self.limits.max_headers:
            self._refuse_headers()

    def _refuse_headers(self) -> None:
        self._cut("headers-too-large", f"The headers have more than {self.limits.max_headers:,} bytes.")

    def _check_headers(self) -> None:
        if self._is_answering:  # the request before, for which the client waits
            self._arm(self.limits.header_seconds, self._check_headers)
            return
        self._cut("slow-client", f"The headers did not arrive in {self.limits.header_seconds:g} seconds.")

    def _check_body(self) -> None:
        limits, now = self.limits, self.loop.time()
        if self._was_paused or self.flow.read_paused:
            self._was_paused, self._body_started, self._body_bytes = False, now, 0
        end = self._body_started + limits.body_seconds + self._body_bytes / limits.body_rate
        if now < end:
            self._arm(end - now, self._check_body)
        else:
            self._cut("slow-client", f"The body arrived with less than {limits.body_rate:,} bytes per second.")

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _cut(self, slug: str, detail: str) -> None:
        """Close the connection, with a problem as the answer where none has begun."""
        if self._is_cut:
            return
        self._is_cut = True
        self.on_refused(slug)
        self._stop(self._timer)
        self._unset_keepalive_if_required()
        self.pipeline.clear()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            has_begun = cycle.response_started
            cycle.disconnected = True  # the application learns that nobody reads its answer
            cycle.message_event.set()
            self.flow.resume_writing()
        else:
            has_begun = cycle is not None and self._phase == "body"  # the rest of a body that was refused
        if not has_begun:
            self.transport.write(_whole_response(ProblemError(slug, detail)))
        self.transport.close()
        self._abort_later()

    def _arm(self, seconds: float, check: Any) -> None:
        self._stop(self._timer)
        self._timer = self.loop.call_later(seconds, check)

    def _abort_later(self) -> None:
        self._stop(self._write_timer)
        self._write_timer = self.loop.call_later(self.limits.write_seconds, self.transport.abort)

    @staticmethod
    def _stop(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()


def _send_at_once(transport: asyncio.BaseTransport) -> None:
    """Let the body of an answer not wait until the client acknowledges its headers, which takes 40 ms.

    asyncio does this only for sockets that it opened itself.
    """
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def _too_many_connections(scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"Retry-After": "1", "Connection": "close", "Cache-Control": "no-store", **HEADERS}
    problem = ProblemError("too-many-connections", "Too many connections are open.", headers)
    await problem_response(problem, instance_of(scope))(scope, receive, send)


def _whole_response(problem: ProblemError) -> bytes:
    """Return the bytes of an answer that no application gives."""
    body = json.dumps(problem_values(problem, "")).encode("ascii")
    headers = {
        "content-type": MEDIA_TYPE,
        "content-length": str(len(body)),
        "connection": "close",
        "cache-control": "no-store",
        **HEADERS,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return STATUS_LINE[PROBLEMS[problem.slug].status] + lines.encode("ascii") + b"\r\n" + body
