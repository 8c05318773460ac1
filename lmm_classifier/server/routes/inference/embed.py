"""`POST /v1/embed`: the vectors of one image, or of the images of a form."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier.batching.queued_image import QueuedResult
from lmm_classifier.core.datatypes import Classification
from lmm_classifier.server.openapi import DirectRoute, of_images
from lmm_classifier.server.routes.inference.uploaded_images import Asked, answered, deadline_of
from lmm_classifier.server.state import state_of

router: APIRouter = APIRouter(route_class=DirectRoute)


@router.post(
    "/v1/embed", **of_images("The vectors of one image, or of the images of a form", "Vectors", "VectorsOfImages")
)
async def embed(request: Request) -> Response:
    """Return the vectors of images as the encoders make them, by each encoder that is asked about every image.

    They go through the queue of `POST /v1/classify`, and are refused as there. In a form, an image that cannot be read
    has no vectors and an error.
    """
    state = state_of(request)
    encoders = state.classifier.encoders

    def values(result: Classification, future: QueuedResult) -> dict[str, Any]:
        vectors = future.vectors
        return {
            "id": result.content_hash,
            "vectors": [vector.tolist() for vector in vectors.values()],
            "encoders": [str(encoders[place].fingerprint) for place in vectors],
            "error": None if vectors else result.error,
        }

    return await answered(request, Asked(deadline_of(request, state), values, may_rerank=False, is_counted=False))
