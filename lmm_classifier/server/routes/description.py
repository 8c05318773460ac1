"""The description of the server for programs."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lmm_classifier.server.openapi import described

router: APIRouter = APIRouter()


@router.get("/openapi.json", **described("This description", "OpenAPI"))
async def openapi(request: Request) -> Response:
    """Return the description of all addresses (OpenAPI 3.1)."""
    return JSONResponse(request.app.openapi())
