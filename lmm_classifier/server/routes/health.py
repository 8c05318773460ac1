"""`/healthz` and `/readyz`: whether the server lives, and whether it classifies."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lmm_classifier.server.openapi import described
from lmm_classifier.server.state import state_of

router: APIRouter = APIRouter()


@router.get("/healthz", **described("The server lives", "State", {}))
async def healthz() -> Response:
    """Say that the server answers."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", **described("An image went through a short time ago", "State", {503: "State"}))
async def readyz(request: Request) -> Response:
    """Say whether images are classified: the index is open, and one went through in the last 30 seconds."""
    reason = state_of(request).why_not_ready()
    if reason:
        return JSONResponse({"status": "not ready", "reason": reason}, 503, {"Retry-After": "2"})
    return JSONResponse({"status": "ready", "reason": None})
