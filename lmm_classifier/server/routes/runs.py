"""Runs: images of a folder or of uploads, classified in the background and kept for a review."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from lmm_classifier.core.errors import LmmClassifierError
from lmm_classifier.server.openapi import FROM_1, described, query, reference
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.results import AsciiJson
from lmm_classifier.server.reviewing.events import Listener, RunEvent
from lmm_classifier.server.reviewing.values import item_values
from lmm_classifier.server.routes.bodies import NewRun, read_body, whole_number
from lmm_classifier.server.state import ServerState, state_of
from lmm_classifier.server.uploads import IMAGE, FormParts, Upload, boundary_of, known_part

router: APIRouter = APIRouter()

_PAGE = 50  # runs
_LINES = 200  # results that are read together
_BEAT = 5.0  # seconds after which a stream without news sends an empty line
_CHANGING: dict[int, str | None] = dict.fromkeys((404, 413, 415, 422, 429), "Problem")
_MISSING: dict[int, str | None] = {404: "Problem"}
_FORM = {
    "type": "object",
    "required": ["image"],
    "properties": {
        "image": {"type": "array", "minItems": 1, "items": {"type": "string", "contentMediaType": "image/*"}}
    },
    "additionalProperties": False,
}


@router.get(
    "/v1/runs",
    **described(
        "A page of runs, the newest first",
        "Runs",
        None,
        [query("before", "Only runs before this one: the member `next` of the page before.", FROM_1)],
    ),
)
async def runs(request: Request) -> Response:
    """List the runs; 50 on a page. One that is `interrupted` was under way when a server ended, and can go on."""
    reviews, given = state_of(request).reviews, request.query_params.get("before")
    before = None if given is None else whole_number(given, "before")
    listed = await asyncio.to_thread(reviews.reviewer.runs.runs, _PAGE, before)
    following = listed[-1].id if len(listed) == _PAGE else None
    values = {"runs": [reviews.run_values(run) for run in listed], "roots": sorted(reviews.roots.roots)}
    return AsciiJson({**values, "next": following})


@router.post(
    "/v1/runs",
    **described("The run begins", "Run", _CHANGING, body={"application/json": reference("NewRun")}, status=202),
)
async def create(request: Request) -> Response:
    """Start a run over a folder below a root, or one whose images are uploaded then."""
    state = state_of(request)
    body = await read_body(request, state, NewRun)
    state.editing.require_writer()
    run = await asyncio.to_thread(state.reviews.create, body.root, body.folder)
    return AsciiJson(state.reviews.run_values(run), 202, {"Location": f"/v1/runs/{run.id}"})


@router.get("/v1/runs/{run}", **described("The run", "Run", _MISSING))
async def one(request: Request, run: str) -> Response:
    """Return how far a run is."""
    reviews, number = state_of(request).reviews, whole_number(run, "the run")
    found = await asyncio.to_thread(reviews.reviewer.runs.run, number)
    reviews.revotes.ask_where_old(number)
    return AsciiJson(reviews.run_values(found))


@router.post("/v1/runs/{run}/cancel", **described("The run stopped", "Run", _MISSING))
async def cancel(request: Request, run: str) -> Response:
    """Stop a run after the images under way; its results stay, and it can go on."""
    state, number = state_of(request), whole_number(run, "the run")
    state.editing.require_writer()
    return AsciiJson(state.reviews.run_values(await asyncio.to_thread(state.reviews.cancel, number)))


@router.post("/v1/runs/{run}/resume", **described("The run resumes", "Run", {**_MISSING, 422: "Problem"}, status=202))
async def resume(request: Request, run: str) -> Response:
    """Go on with a run that was stopped, failed or interrupted; no image is classified twice."""
    state, number = state_of(request), whole_number(run, "the run")
    state.editing.require_writer()
    return AsciiJson(state.reviews.run_values(await asyncio.to_thread(state.reviews.resume, number)), 202)


@router.delete("/v1/runs/{run}", **described("The run is deleted", "Deleted", _MISSING))
async def delete(request: Request, run: str) -> Response:
    """Stop a run, and delete its results and uploads; the examples that it taught stay in the index."""
    state, number = state_of(request), whole_number(run, "the run")
    state.editing.require_writer()
    await asyncio.to_thread(state.reviews.delete, number)
    return AsciiJson({"run": number})


@router.post(
    "/v1/runs/{run}/images",
    **described(
        "The items of the images, in their order", "Added", _CHANGING, body={"multipart/form-data": _FORM}, status=201
    ),
)
async def add(request: Request, run: str) -> Response:
    """Classify the images of a form and add them to a run for uploads. One with the name and bytes of an item is it."""
    state, number = state_of(request), whole_number(run, "the run")
    state.editing.require_writer()
    boundary = boundary_of(request.headers.get("content-type", ""))
    if boundary is None:
        raise ProblemError("unsupported-media-type", "Expected multipart/form-data.", {"Connection": "close"})
    await asyncio.to_thread(state.reviews.reviewer.runs.run, number)
    settings = state.settings
    upload = Upload(request, state.held, settings.max_multipart)
    async with upload.opened():
        form = FormParts(upload, boundary, settings.max_body, settings.max_parts)
        images = [(part.filename, part.data) async for part in form if known_part(part, [IMAGE])]
        if not images:
            raise ProblemError("malformed-request", "The form has no part named `image`.")
        ids = await state.reviews.jobs.add(number, images)
    return AsciiJson({"run": number, "items": ids}, 201)


@router.get(
    "/v1/runs/{run}/results",
    **described(
        "An item with its result a line",
        {"application/jsonl": {"type": "string", "description": "An `Item` a line, in the order of their changes"}},
        _MISSING,
        [query("after", "Only what changed after this: the member `change` of a line.", {**FROM_1, "minimum": 0})],
    ),
)
async def results(request: Request, run: str) -> Response:
    """Return the results of a run as they are now; asked again with `after`, only those that changed since."""
    state, number = state_of(request), whole_number(run, "the run")
    after = whole_number(request.query_params.get("after", "0"), "after", 0)
    await asyncio.to_thread(state.reviews.reviewer.runs.run, number)
    return StreamingResponse(_lines(state, number, after), media_type="application/jsonl")


@router.get("/v1/runs/{run}/events", **described("Events", "text/event-stream", {**_MISSING, 429: "Problem"}))
async def events(request: Request, run: str) -> Response:
    """Tell what happens to a run: `progress`, `answer`, `undo`, `revote` and `deleted`; each has the run as it is now.

    The first event is `progress`. What happened before can be read with the results.
    """
    state, number = state_of(request), whole_number(run, "the run")
    await asyncio.to_thread(state.reviews.reviewer.runs.run, number)
    stream = _events(state, number)
    first = await anext(stream)  # raises where too many listen
    return StreamingResponse(_after_first(first, stream), media_type="text/event-stream")


async def _lines(state: ServerState, run: int, after: int) -> AsyncIterator[bytes]:
    reviewer = state.reviews.reviewer
    while True:
        items = await asyncio.to_thread(reviewer.runs.after, run, after, _LINES)
        ids = state.ids
        yield b"".join(json.dumps(item_values(item, ids)).encode("ascii") + b"\n" for item in items)
        if len(items) < _LINES:
            return
        after = items[-1].change


async def _after_first(first: bytes, stream: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    yield first
    async for part in stream:
        yield part


async def _events(state: ServerState, run: int) -> AsyncGenerator[bytes, None]:
    reviews = state.reviews
    with reviews.events.listening(run) as listener:
        values = await asyncio.to_thread(_run_now, state, run)
        yield b"retry: 2000\n\n" + RunEvent("progress", {"run": values}).encoded()
        async for part in _news(state, run, listener):
            yield part


async def _news(state: ServerState, run: int, listener: Listener) -> AsyncIterator[bytes]:
    while not listener.is_closed:
        happened = await listener.next(_BEAT)
        yield b"".join(event.encoded() for event in happened) or b":\n\n"
        if any(event.kind == "deleted" for event in happened) or state.is_draining:
            return
        try:
            state.reviews.revotes.ask_where_old(run)
        except LmmClassifierError:
            return


def _run_now(state: ServerState, run: int) -> dict[str, Any]:
    return state.reviews.run_values(state.reviews.reviewer.runs.run(run))
