"""`POST /v1/classify`: the bytes of one image, or a form with several."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier.batching.queued_image import QueuedResult
from lmm_classifier.core.datatypes import Classification
from lmm_classifier.server.openapi import of_images, query
from lmm_classifier.server.results import result_values
from lmm_classifier.server.routes.bodies import switch
from lmm_classifier.server.routes.inference.uploaded_images import Asked, answered, deadline_of
from lmm_classifier.server.state import state_of

router = APIRouter()


@router.post(
    "/v1/classify",
    **of_images(
        "The result of one image, or the results of a form in its order",
        "Result",
        "Results",
        [
            query("evidence", "Whether candidates have their neighbors.", {"type": "boolean", "default": True}),
            query("rerank", "Whether the reranker may be asked.", {"type": "boolean", "default": True}),
            query("rounded", "Whether numbers have six digits, or all bits.", {"type": "boolean", "default": True}),
        ],
    ),
)
async def classify(request: Request) -> Response:
    """Classify the bytes of one image, or the images of a form."""
    state = state_of(request)
    deadline = deadline_of(request, state)
    with_evidence, is_rounded = switch(request, "evidence"), switch(request, "rounded")

    def values(result: Classification, _: QueuedResult) -> dict[str, Any]:
        return result_values(result, state.ids, with_evidence, is_rounded)

    return await answered(request, Asked(deadline, values, switch(request, "rerank")))
