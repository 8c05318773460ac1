"""The journal: every edit with what it changed, and a button that undoes it, however old."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier.core.errors import ConflictError
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.build.reports import EditReport
from lmm_classifier.server.pages.environment import render
from lmm_classifier.server.pages.forms import applied, local, number, read_form
from lmm_classifier.server.pages.notices import notice_of, sentence
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.routes.examples import ORIGIN
from lmm_classifier.server.state import state_of

router = APIRouter(include_in_schema=False)

_PAGE = 50  # edits


@router.get("/edits")
def edits(request: Request) -> Response:
    """Show a page of edits, the newest first."""
    before = number(request.query_params.get("before", ""))
    editor = state_of(request).classifier.editor()
    listed = editor.edits(_PAGE, before or None)
    return render(
        request,
        "edits.html",
        edits=[(edit, sentence(edit)) for edit in listed],
        older=listed[-1].id if len(listed) == _PAGE else None,
        is_newest=not before,
        notice=notice_of(request),
    )


@router.post("/edits/{edit}/undo")
async def undo(request: Request, edit: str) -> Response:
    """Undo an edit, and show the page on which that was asked for."""
    state, wanted = state_of(request), number(edit)
    form = await read_form(request, 10_000)
    then = local(form.get("then", ["/edits"])[0], "/edits")
    state.editing.require_writer()
    known = await run_in_threadpool(state.classifier.editor().edits, 1, wanted + 1)
    if not known or known[0].id != wanted:
        raise ProblemError("not-found", "The journal has no such edit.")
    try:
        return await applied(request, "undo", partial(_undo, wanted), then)
    except ConflictError as error:
        if "hx-request" in request.headers:
            raise
        values = {"edit": known[0], "sentence": sentence(known[0]), "reason": str(error)}
        return await run_in_threadpool(render, request, "undo_refused.html", 409, **values)


def _undo(edit: int, editor: IndexEditor) -> EditReport:
    return editor.undo(edit, origin=ORIGIN)
