"""The Classify page: images are dropped, each is answered with its evidence, and one press teaches it."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import LmmClassifierError, QueueFullError
from lmm_classifier.server.pages.confidence import confidence_words
from lmm_classifier.server.pages.environment import render
from lmm_classifier.server.problems import ProblemError, problem_of
from lmm_classifier.server.results import result_values
from lmm_classifier.server.state import ServerState, state_of
from lmm_classifier.server.uploads import IMAGE, FormParts, Upload, boundary_of

router = APIRouter(include_in_schema=False)

_CHOICES = 9  # candidates, one for each digit
_EVIDENCE = 6  # neighbors
_PATIENCE = 60.0  # seconds for an image of a form without scripts


@router.get("/")
def start(request: Request) -> Response:
    """Show where to drop images."""
    return render(request, "classify.html", answers=[], labels=_labels(state_of(request)))


@router.post("/classify")
async def classify(request: Request) -> Response:
    """Answer the bytes of one image with a part of a page, or the images of a form with a page."""
    state = state_of(request)
    boundary = boundary_of(request.headers.get("content-type", ""))
    if boundary is None:
        upload = Upload(request, state.held, state.settings.max_body)
        async with upload.opened():
            answer = await _answer(state, await upload.whole(), state.settings.deadline)
        if isinstance(answer, ProblemError):
            raise answer
        return await run_in_threadpool(render, request, "answer.html", answer=answer)
    upload = Upload(request, state.held, state.settings.max_multipart)
    async with upload.opened():
        parts = [part async for part in FormParts(upload, boundary, state.settings.max_body, state.settings.max_parts)]
        images = [part for part in parts if part.name == IMAGE and part.data]
        answers = [await _answer(state, part.data, _PATIENCE) for part in images]
    shown = [
        {"problem": answer.detail, "name": part.filename}
        if isinstance(answer, ProblemError)
        else {**answer, "name": part.filename}
        for answer, part in zip(answers, images, strict=True)
    ]
    return await run_in_threadpool(render, request, "classify.html", answers=shown, labels=_labels(state))


async def _answer(state: ServerState, data: bytes, deadline: float) -> dict[str, Any] | ProblemError:
    """Return what is shown of an image, or why it has no answer."""
    try:
        future = state.queue.submit(data, deadline)
        result = await asyncio.wrap_future(future)
    except QueueFullError as error:
        state.metrics.refused.labels("queue").inc()
        return problem_of(error)
    except LmmClassifierError as error:
        return problem_of(error)
    state.count(result, future.stages)
    return answer_values(state, result)


def answer_values(state: ServerState, result: Classification) -> dict[str, Any]:
    """Return what is shown of a result: words only where the index is calibrated, and the nearest examples of all."""
    values = result_values(result, state.ids)
    is_calibrated = state.classifier.retriever.stored is not None
    candidates = values["candidates"][:_CHOICES]
    neighbors = [neighbor for candidate in candidates for neighbor in candidate["neighbors"] if neighbor["id"]]
    neighbors.sort(key=lambda neighbor: -neighbor["similarity"])
    return {
        **values,
        "candidates": candidates,
        "neighbors": neighbors[:_EVIDENCE],
        "words": confidence_words(result.score) if is_calibrated and not result.is_unknown else "",
        "right": round(100 * result.score) if is_calibrated and not result.is_unknown else None,
        "problem": None,
        "name": "",
    }


def _labels(state: ServerState) -> list[str]:
    return sorted(set(state.classifier.index.contents.labels))
