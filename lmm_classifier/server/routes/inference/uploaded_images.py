"""Images that requests bring go through the queue: the bytes of one image, or a form with several."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lmm_classifier.batching.queued_image import QueuedResult
from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import EncoderError, ImageError, LmmClassifierError, QueueFullError
from lmm_classifier.pipeline.stages.answer_options import AnswerOptions
from lmm_classifier.pipeline.stages.unreadable import unreadable
from lmm_classifier.server.metrics import Metrics
from lmm_classifier.server.problems import ProblemError, instance_of, problem_of, problem_values
from lmm_classifier.server.results import AsciiJson
from lmm_classifier.server.state import ServerState, state_of
from lmm_classifier.server.uploads import IMAGE, FormParts, Part, Upload, boundary_of, closing, known_part

_AHEAD = 16  # images of one form that wait in the queue together
_LONGEST = 60_000  # milliseconds
_RETRY = 0.05  # seconds until an image of a form asks the queue again
_PLAIN = {"application/octet-stream"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for besides its images."""

    deadline: float  # seconds
    values: Callable[[Classification, QueuedResult], dict[str, Any]]  # the members of an answer
    may_rerank: bool = True
    is_counted: bool = True  # whether its results count in the metrics
    options: AnswerOptions = field(default_factory=AnswerOptions)


async def answered(request: Request, asked: Asked) -> Response:
    """Answer a request with the bytes of one image, or a form with several.

    Raises:
        ProblemError: the request or the image is refused.
    """
    state = state_of(request)
    content_type = request.headers.get("content-type", "")
    boundary = boundary_of(content_type)
    require_place(request, state)
    if boundary is not None:
        return await _form(request, state, asked, boundary)
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in _PLAIN and not (kind.startswith("image/") and not kind.startswith("image/svg")):
        raise ProblemError("unsupported-media-type", f"The content type is {kind!r}.", closing(request))
    upload = Upload(request, state.held, state.settings.max_body)
    async with upload.opened():
        data = await upload.whole()
        future = submitted(state, data, asked)
    result = await answer_of(request, state, future, asked)
    headers = {"Server-Timing": timing(future.stages)}
    return AsciiJson(asked.values(result, future), headers=headers)


async def _form(request: Request, state: ServerState, asked: Asked, boundary: bytes) -> Response:
    upload = Upload(request, state.held, state.settings.max_multipart)
    lines = _results(upload, state, asked, boundary)
    if "application/jsonl" in request.headers.get("accept", ""):
        return _JsonLines(lines, instance_of(request.scope), state.metrics)
    async with aclosing(lines):
        results = [values async for values in lines]
    for values in results:
        if isinstance(values["problem"], ProblemError):
            raise values["problem"]
    return AsciiJson({"results": [values["result"] for values in sorted(results, key=lambda values: values["index"])]})


async def _results(
    upload: Upload, state: ServerState, asked: Asked, boundary: bytes
) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the result or the problem of each image of a form as it is ready, with its place."""
    settings = state.settings
    waiting, reading, count = set[asyncio.Task[dict[str, Any]]](), set[asyncio.Task[Part | None]](), 0
    try:
        async with upload.opened():
            parts = aiter(FormParts(upload, boundary, settings.max_body, settings.max_parts))
            has_more = True
            while True:
                if has_more and not reading and len(waiting) < min(_AHEAD, settings.queue):
                    reading.add(asyncio.create_task(_next(parts)))
                tasks: list[asyncio.Task[Any]] = [*waiting, *reading]
                if not tasks:
                    break
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for ready in waiting & done:
                    waiting.remove(ready)
                    yield ready.result()
                for read in reading & done:
                    reading.remove(read)
                    part = read.result()
                    has_more = part is not None
                    if part is not None:
                        known_part(part, [IMAGE])
                        first = None if count else submitted(state, part.data, asked)
                        waiting.add(asyncio.create_task(result_of(count, part.data, upload, state, asked, first)))
                        count += 1
            if not count:
                raise ProblemError("malformed-request", "The form has no part named `image`.")
    finally:
        for task in (*waiting, *reading):
            task.cancel()


async def _next(parts: AsyncIterator[Part]) -> Part | None:
    return await anext(parts, None)


async def result_of(
    place: int, data: bytes, upload: Upload, state: ServerState, asked: Asked, first: QueuedResult | None
) -> dict[str, Any]:
    """Return the result of one of several images, or its problem; one that cannot be read is `unreadable`.

    The `first` of them was submitted already: where there is no place for it, its request was refused at once. Each of
    the others waits for a place until the deadline.
    """
    end = asyncio.get_running_loop().time() + asked.deadline
    try:
        try:
            future = first or await _submitted_in_time(state, data, end, asked)
        finally:
            upload.taken(len(data))
        waiter = asyncio.wrap_future(future)
        try:
            result = await waiter
        except (ImageError, EncoderError) as error:
            reason = _refused(state) if isinstance(error, EncoderError) else error
            if isinstance(reason, ProblemError) and reason.slug == "encoder-failed":
                raise reason from None
            content_hash = await asyncio.to_thread(lambda: sha256(data).hexdigest())
            result = unreadable(state.config.unknown_label, None, reason, content_hash)
        _count(state, result, future, asked)
        return {"index": place, "result": asked.values(result, future), "problem": None}
    except Exception as error:  # noqa: BLE001 - the other images are answered
        state.metrics.count_refusal(error)
        return {"index": place, "result": None, "problem": problem_of(error)}


def require_place(request: Request, state: ServerState) -> None:
    """Raise ProblemError where the queue is full, before a byte of the body is read."""
    statistics = state.queue.statistics
    if statistics.waiting >= state.settings.queue:
        wait = statistics.waiting / statistics.rate if statistics.rate else 1.0
        message = f"{statistics.waiting} images wait, which is the limit."
        error = QueueFullError(message, wait, statistics.waiting, state.settings.queue)
        state.metrics.count_refusal(error)
        problem = problem_of(error)
        problem.headers |= closing(request)
        raise problem


def submitted(state: ServerState, data: bytes, asked: Asked) -> QueuedResult:
    """Let an image wait in the queue; raise QueueFullError where it is full."""
    return state.queue.submit(data, asked.deadline, asked.may_rerank, asked.options)


async def _submitted_in_time(state: ServerState, data: bytes, end: float, asked: Asked) -> QueuedResult:
    """Submit an image of a form; where the queue is full, wait for a place until the deadline."""
    loop = asyncio.get_running_loop()
    while True:
        seconds = end - loop.time()
        try:
            return state.queue.submit(data, max(seconds, 0.001), asked.may_rerank, asked.options)
        except QueueFullError:
            if seconds <= _RETRY:
                raise
        await asyncio.sleep(_RETRY)


async def answer_of(request: Request, state: ServerState, future: QueuedResult, asked: Asked) -> Classification:
    """Wait for a result; cancel its image where the client goes away."""
    waiter = asyncio.wrap_future(future)
    gone = asyncio.ensure_future(request.receive())  # the body was read: only the end of the connection is left
    try:
        await asyncio.wait((waiter, gone), return_when=asyncio.FIRST_COMPLETED)
        if not waiter.done():
            raise ClientDisconnect
        result = waiter.result()
    except ImageError:
        _count(state, unreadable("", None, "", None), future, asked)
        raise
    except EncoderError:
        raise _refused(state) from None
    finally:
        waiter.cancel()
        gone.cancel()
    _count(state, result, future, asked)
    return result


def _count(state: ServerState, result: Classification, future: QueuedResult, asked: Asked) -> None:
    if asked.is_counted:
        state.count(result, future.stages)


def _refused(state: ServerState) -> ProblemError:
    """Return the problem for an image without a vector: its own fault where others have one."""
    if state.readiness.is_recent:
        return ProblemError(
            "unreadable-image", "The encoder gives no vector for this image.", members={"kind": "no_vector"}
        )
    return ProblemError("encoder-failed", "The encoder gives no vectors.", {"Retry-After": "10"})


def deadline_of(request: Request, state: ServerState) -> float:
    """Return the seconds that a request allows; raise ProblemError where its header is malformed."""
    given = request.headers.get("x-deadline-ms")
    if given is None:
        return state.settings.deadline
    if not (given.isascii() and given.isdecimal() and 1 <= len(given) <= 5 and 1 <= int(given) <= _LONGEST):
        raise ProblemError("malformed-request", f"X-Deadline-Ms must be 1 to {_LONGEST} milliseconds, got {given!r}.")
    return int(given) / 1000


def timing(stages: Mapping[str, float]) -> str:
    """Return the header `Server-Timing` of the seconds of each stage."""
    return ", ".join(f"{stage};dur={seconds * 1000:.2f}" for stage, seconds in stages.items())


class _JsonLines(Response):
    """One line for each image as it is ready. The body of the request is read meanwhile.

    Nothing is sent before the first line is there, so that a request without a usable image gets a problem.
    """

    media_type = "application/jsonl"

    def __init__(self, lines: AsyncGenerator[dict[str, Any], None], instance: str, metrics: Metrics) -> None:
        super().__init__(headers={})
        del self.headers["content-length"]
        self._lines, self._instance, self._metrics = lines, instance, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the body is `lines`
        """Send the lines."""
        has_begun = False
        async with aclosing(self._lines) as lines:
            try:
                async for values in lines:
                    if not has_begun:
                        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                        has_begun = True
                    await send({"type": "http.response.body", "body": self._line(values), "more_body": True})
            except (ProblemError, LmmClassifierError) as error:
                if not has_begun:
                    raise
                self._metrics.count_refusal(error)
                line = {"index": None, "problem": problem_values(problem_of(error), self._instance)}
                await send({"type": "http.response.body", "body": _encoded(line), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _line(self, values: Mapping[str, Any]) -> bytes:
        if values["problem"] is not None:
            return _encoded({"index": values["index"], "problem": problem_values(values["problem"], self._instance)})
        return _encoded({"index": values["index"], **values["result"]})


def _encoded(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values).encode("ascii") + b"\n"
