"""`POST /v1/classify`: the bytes of one image, or a form with several."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier.batching.queued_image import QueuedResult
from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import NoSuchLabelError
from lmm_classifier.pipeline.stages.answer_options import AnswerOptions
from lmm_classifier.server.openapi import DirectRoute, of_images, query
from lmm_classifier.server.problems import problem_of
from lmm_classifier.server.results import result_values
from lmm_classifier.server.routes.bodies import switch
from lmm_classifier.server.routes.inference.uploaded_images import Asked, answered, deadline_of
from lmm_classifier.server.state import ServerState, state_of
from lmm_classifier.server.uploads import closing

router: APIRouter = APIRouter(route_class=DirectRoute)

_PARAMETERS = [
    query("evidence", "Whether candidates have their neighbors.", {"type": "boolean", "default": True}),
    query(
        "labels",
        "Only this label, and others that are named so, may be answered. Scores stay those among all labels.",
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
    ),
    query("allow_unknown", "Whether images may be called unknown; by default as configured.", {"type": "boolean"}),
    query("rerank", "Whether the reranker may be asked.", {"type": "boolean", "default": True}),
    query("rounded", "Whether numbers have six digits, or all their bits.", {"type": "boolean", "default": True}),
]


@router.post(
    "/v1/classify",
    **of_images("The result of one image, or the results of a form in its order", "Result", "Results", _PARAMETERS),
)
async def classify(request: Request) -> Response:
    """Classify the bytes of one image, or the images of a form."""
    state = state_of(request)
    asked = _asked(request, state)
    if asked.options.labels is not None:
        await _require_labels(request, state, asked.options.labels)
    return await answered(request, asked)


def _asked(request: Request, state: ServerState) -> Asked:
    deadline = deadline_of(request, state)
    allow_unknown = switch(request, "allow_unknown") if "allow_unknown" in request.query_params else None
    options = AnswerOptions(request.query_params.getlist("labels") or None, allow_unknown)
    with_evidence, is_rounded, rerank = (switch(request, name) for name in ("evidence", "rounded", "rerank"))

    def values(result: Classification, _: QueuedResult) -> dict[str, Any]:
        return result_values(result, state.ids, with_evidence, is_rounded)

    return Asked(deadline, values, rerank, options=options)


async def _require_labels(request: Request, state: ServerState, labels: Iterable[str]) -> None:
    """Raise ProblemError for a label that the index does not have, before the body is read."""
    try:
        await asyncio.to_thread(state.classifier.index.require_labels, labels)
    except NoSuchLabelError as error:
        problem = problem_of(error)
        problem.headers |= closing(request)
        raise problem from None
