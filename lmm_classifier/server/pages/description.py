"""The pages of the types of problems, and of the addresses for programs."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier.server.openapi import described
from lmm_classifier.server.pages.environment import render
from lmm_classifier.server.problems import PROBLEMS, ProblemError

router: APIRouter = APIRouter()


@router.get("/problems/{slug}", **described("What a type of problem means", "text/html", {404: "Problem"}))
def problem(request: Request, slug: str) -> Response:
    """Explain a type of problem."""
    if slug not in PROBLEMS:
        raise ProblemError("not-found", "There is no problem of this name.")
    return render(request, "problem.html", kind=PROBLEMS[slug], detail="")


@router.get("/docs", **described("This description as a page", "text/html"))
def docs(request: Request) -> Response:
    """Show the description of all addresses as a page without scripts."""
    return render(request, "description.html", description=request.app.openapi())
