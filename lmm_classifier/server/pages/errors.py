"""Errors as pages, for people who follow a link; programs get `application/problem+json`."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from lmm_classifier.core.redaction import quote_foreign
from lmm_classifier.server.pages.environment import render
from lmm_classifier.server.problems import PROBLEMS, answer_problem, problem_of
from lmm_classifier.server.state import state_of


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer an error: as a page where a browser shows the answer, else as `answer_problem` does."""
    state_of(request).metrics.count_refusal(error)
    if isinstance(error, ClientDisconnect) or not shows_pages(request):
        return await answer_problem(request, error)
    problem = problem_of(error)
    kind = PROBLEMS[problem.slug]
    values = {"kind": kind, "detail": quote_foreign(problem.detail, limit=1000)}
    page = await run_in_threadpool(render, request, "problem.html", kind.status, **values)
    page.headers.update(problem.headers)
    return page


def shows_pages(request: Request) -> bool:
    """Return whether a browser asks for a page, and not a script or a program for data."""
    accepts_pages = "text/html" in request.headers.get("accept", "")
    return accepts_pages and "hx-request" not in request.headers and not request.url.path.startswith("/v1/")
