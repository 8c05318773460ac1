"""The journal: every edit with what it changed, and a button that undoes it, however old."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from lmm_classifier.core.errors import ConflictError, UndoError
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.build.reports import Edit, EditReport
from lmm_classifier.index.formats import has_durable_name
from lmm_classifier.server.pages.audit import kinds_of
from lmm_classifier.server.pages.environment import render
from lmm_classifier.server.pages.forms import Form, applied, local, number, read_form, told
from lmm_classifier.server.pages.notices import NOTHING, notice_of, sentence
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.routes.examples import ORIGIN
from lmm_classifier.server.state import state_of

router: APIRouter = APIRouter(include_in_schema=False)

_PAGE = 50  # edits


@router.get("/edits")
def edits(request: Request) -> Response:
    """Show a page of edits, the newest first."""
    before = number(request.query_params.get("before", ""))
    state = state_of(request)
    is_kept = has_durable_name(state.config.retrieval.index_path)  # the others have no journal
    listed = state.classifier.editor().edits(_PAGE, before or None) if is_kept else []
    return render(
        request,
        "edits.html",
        edits=[(edit, sentence(edit)) for edit in listed],
        older=listed[-1].id if len(listed) == _PAGE else None,
        is_kept=is_kept,
        is_newest=not before,
        kinds=kinds_of(state.auditing.view(starts=False)),
        notice=notice_of(request),
    )


@router.post("/edits/undo")
async def undo_last(request: Request) -> Response:
    """Undo the newest edit that is not undone and is no undo, whoever made it; asked again, the one before."""
    state, then = state_of(request), _then(await read_form(request, 10_000))
    state.editing.require_writer()
    last = await run_in_threadpool(state.classifier.editor().last_edit)
    if last is None:
        return RedirectResponse(told(then, NOTHING), 303)
    try:
        return await _undone(request, last, then, None)
    except UndoError:
        if await run_in_threadpool(state.classifier.editor().last_edit) is not None:
            raise
        return RedirectResponse(told(then, NOTHING), 303)  # somebody undid the last one meanwhile


@router.post("/edits/{edit}/undo")
async def undo(request: Request, edit: str) -> Response:
    """Undo an edit, and show the page on which that was asked for."""
    state, wanted = state_of(request), number(edit)
    then = _then(await read_form(request, 10_000))
    state.editing.require_writer()
    known = await run_in_threadpool(state.classifier.editor().edits, 1, wanted + 1)
    if not known or known[0].id != wanted:
        raise ProblemError("not-found", "The journal has no such edit.")
    return await _undone(request, known[0], then, known[0].id)


async def _undone(request: Request, edit: Edit, then: str, number: int | None) -> Response:
    """Undo the edit of a number, or the newest one in its turn; `edit` is shown where that is refused."""
    try:
        return await applied(request, "undo", partial(_undo, number), then)
    except ConflictError as error:
        if "hx-request" in request.headers:
            raise
        values = {"edit": edit, "sentence": sentence(edit), "reason": str(error)}
        return await run_in_threadpool(render, request, "undo_refused.html", 409, **values)


def _then(form: Form) -> str:
    return local(form.get("then", ["/edits"])[0], "/edits")


def _undo(edit: int | None, editor: IndexEditor) -> EditReport:
    return editor.undo(edit, origin=ORIGIN)
