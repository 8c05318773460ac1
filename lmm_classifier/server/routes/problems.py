"""The pages of the types of problems, and of the description of the server."""

from __future__ import annotations

from html import escape

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from lmm_classifier.server.openapi import described, docs_page
from lmm_classifier.server.problems import PROBLEMS, ProblemError

router = APIRouter()


@router.get("/problems/{slug}", **described("What a type of problem means", "text/html", {404: "Problem"}))
async def problem(slug: str) -> Response:
    """Explain a type of problem."""
    if slug not in PROBLEMS:
        raise ProblemError("not-found", "There is no problem of this name.")
    kind = PROBLEMS[slug]
    body = f"<h1>{escape(kind.title)}</h1><p>Status {kind.status}.</p><p>{escape(kind.advice)}</p>"
    return HTMLResponse(f'<!doctype html><html lang="en"><title>{escape(kind.title)}</title><main>{body}</main></html>')


@router.get("/openapi.json", **described("This description", "OpenAPI"))
async def openapi(request: Request) -> Response:
    """Return the description of all addresses (OpenAPI 3.1)."""
    return JSONResponse(request.app.openapi())


@router.get("/docs", **described("This description as a page", "text/html"))
async def docs(request: Request) -> Response:
    """Show the description of all addresses as a page without scripts."""
    return HTMLResponse(docs_page(request.app.openapi()))
