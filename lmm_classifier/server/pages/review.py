"""The pages of the review: the runs, and one run with its questions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from lmm_classifier.review.storage.records import Run
from lmm_classifier.server.pages.environment import render
from lmm_classifier.server.problems import ProblemError, problem_of
from lmm_classifier.server.reviewing.reviews import Reviewing
from lmm_classifier.server.reviewing.roots import FOLDERS_OFFERED
from lmm_classifier.server.routes.bodies import whole_number
from lmm_classifier.server.security.access import is_loopback
from lmm_classifier.server.state import ServerState, state_of
from lmm_classifier.server.uploads import Upload

router: APIRouter = APIRouter(include_in_schema=False)

_PAGE = 50  # runs
_MOST = 10_000  # bytes of a form


@router.get("/review")
def runs(request: Request) -> Response:
    """List the runs, and offer to start one."""
    return _runs(request)


@router.post("/review")
async def start(request: Request) -> Response:
    """Start a run over a folder of the server, and show it."""
    state = state_of(request)
    form = await _form(request, state)
    state.editing.require_writer()
    root, _, folder = form.get("folder", "").partition("/")
    inside = "/".join(part for part in (folder, form.get("inside", "").strip()) if part)
    try:
        run = await asyncio.to_thread(state.reviews.create, root or "-", inside)
    except ProblemError as problem:
        return await asyncio.to_thread(_runs, request, problem.detail, 422)
    return RedirectResponse(f"/review/{run.id}", 303)


@router.get("/review/{run}")
def review(request: Request, run: str) -> Response:
    """Show what waits in a run."""
    reviews = state_of(request).reviews
    found = reviews.reviewer.runs.run(whole_number(run, "the run"))
    values = reviews.run_values(found)
    return render(request, "review.html", run=values, title=title_of(values))


@router.post("/review/{run}")
async def act(request: Request, run: str) -> Response:
    """Stop, resume or delete a run, and show the runs."""
    state, number = state_of(request), whole_number(run, "the run")
    form = await _form(request, state)
    state.editing.require_writer()
    reviews = state.reviews
    acts = {"cancel": reviews.cancel, "resume": reviews.resume, "delete": reviews.delete}
    wanted = acts.get(form.get("do", ""))
    if wanted is None:
        raise ProblemError("malformed-request", "The form does not say what to do.")
    try:
        await asyncio.to_thread(wanted, number)
    except Exception as error:  # noqa: BLE001 - the page shows it
        problem = problem_of(error)
        return await asyncio.to_thread(_runs, request, problem.detail, 422)
    return RedirectResponse("/review", 303)


def _runs(request: Request, refused: str = "", status: int = 200) -> Response:
    state = state_of(request)
    reviews, given = state.reviews, request.query_params.get("before")
    before = None if given is None else whole_number(given, "before")
    listed = [] if reviews.why_not else reviews.reviewer.runs.runs(_PAGE, before)
    return render(
        request,
        "review_runs.html",
        status,
        runs=[_with_title(reviews, run) for run in listed],
        next=listed[-1].id if len(listed) == _PAGE else None,
        why_not=reviews.why_not,
        folders=(folders := reviews.roots.folders()),
        are_more_folders=len(folders) == FOLDERS_OFFERED,
        refused=refused,
        is_local=is_loopback(state.settings.host),
    )


def _with_title(reviews: Reviewing, run: Run) -> dict[str, Any]:
    values = reviews.run_values(run)
    return {**values, "title": title_of(values)}


def title_of(run: Mapping[str, Any]) -> str:
    """Return what pages call a run, from its values."""
    source = run["source"]
    if source["kind"] == "upload":
        return f"Uploads, run {run['id']}"
    folder = "" if source["folder"] == "." else source["folder"]
    return "/".join(part for part in (source["root"], folder) if part) or f"Run {run['id']}"


async def _form(request: Request, state: ServerState) -> dict[str, str]:
    upload = Upload(request, state.held, _MOST)
    async with upload.opened():
        return {name: values[0] for name, values in parse_qs((await upload.whole()).decode("utf-8", "replace")).items()}
