"""`/metrics`: figures for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier.server.openapi import described
from lmm_classifier.server.state import state_of

router: APIRouter = APIRouter()


@router.get("/metrics", **described("Figures in the text format of Prometheus", "text/plain"))
async def metrics(request: Request) -> Response:
    """Return all figures."""
    return Response(state_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)
