"""The journal of edits, undoing, and renaming of labels."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier.core.labels import normal_label
from lmm_classifier.index.build.reports import Edit
from lmm_classifier.server.openapi import FROM_1, NOT_MODIFIED, described, query, reference
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.results import tagged
from lmm_classifier.server.routes.bodies import MAX_NUMBER, Renaming, Undoing, read_body, whole_number
from lmm_classifier.server.routes.examples import ORIGIN, PARAMETERS, PROBLEMS, edited
from lmm_classifier.server.state import state_of

router: APIRouter = APIRouter()

_PAGE = 50  # edits


@router.get(
    "/v1/edits",
    **described(
        "A page of edits, the newest first",
        "Edits",
        NOT_MODIFIED,
        [query("before", "Only edits before this one: the member `next` of the page before.", FROM_1)],
    ),
)
async def edits(request: Request) -> Response:
    """List the edits of the index, also those of other programs; 50 on a page."""
    state, before = state_of(request), request.query_params.get("before")
    editor = state.classifier.editor()
    listed = await asyncio.to_thread(editor.edits, _PAGE, None if before is None else whole_number(before, "before"))
    following = listed[-1].id if len(listed) == _PAGE else None
    return tagged(request, {"edits": [_values(edit) for edit in listed], "next": following})


@router.post(
    "/v1/edits/{edit}/undo",
    **described(
        "The edit is undone; that is an edit too",
        "EditReport",
        {**PROBLEMS, 404: "Problem"},
        PARAMETERS,
        {"application/json": reference("Undoing")},
    ),
)
async def undo(request: Request, edit: str) -> Response:
    """Undo an edit, however old. If an example changed since, nothing is changed."""
    state, number = state_of(request), whole_number(edit, "the id of an edit")
    body = await read_body(request, state, Undoing)
    state.editing.require_writer()
    editor = state.classifier.editor()
    known = await asyncio.to_thread(editor.edits, 1, min(number, MAX_NUMBER - 1) + 1)
    if not known or known[0].id != number:
        raise ProblemError("not-found", "The journal has no such edit.")
    return await edited(
        request, "undo", body.model_dump_json(), lambda editor: editor.undo(number, note=body.note, origin=ORIGIN)
    )


@router.post(
    "/v1/labels/rename",
    **described(
        "The label has another name", "EditReport", PROBLEMS, PARAMETERS, {"application/json": reference("Renaming")}
    ),
)
async def rename(request: Request) -> Response:
    """Give a label a new name, in one edit; nothing is encoded. The new name must not be a label already."""
    return await _rename(request, is_merge=False)


@router.post(
    "/v1/labels/merge",
    **described(
        "The examples have the other label",
        "EditReport",
        PROBLEMS,
        PARAMETERS,
        {"application/json": reference("Renaming")},
    ),
)
async def merge(request: Request) -> Response:
    """Give the examples of a label another existing label, in one edit; nothing is encoded."""
    return await _rename(request, is_merge=True)


async def _rename(request: Request, is_merge: bool) -> Response:
    state = state_of(request)
    body = await read_body(request, state, Renaming)
    state.editing.require_writer()
    editor = state.classifier.editor()
    exists = bool(await asyncio.to_thread(editor.examples_of, body.new))
    if exists and not is_merge and normal_label(body.label) != normal_label(body.new):
        raise ProblemError("refused-edit", f"{body.new!r} is a label already. Merge the two instead.")
    if is_merge and not exists:
        raise ProblemError("refused-edit", f"No example has the label {body.new!r}. Rename instead.")
    return await edited(
        request,
        "rename_label",
        body.model_dump_json(),
        lambda editor: editor.rename_label(body.label, body.new, note=body.note, origin=ORIGIN),
    )


def _values(edit: Edit) -> dict[str, Any]:
    changes = edit.changes
    counts = {
        "added": len(changes.added),
        "removed": len(changes.removed),
        "replaced": len(changes.replaced),
        "renamed": len(changes.renamed),
        "relabeled": len(changes.relabeled),
    }
    return {
        "id": edit.id,
        "time": edit.time.isoformat(),
        "kind": edit.kind,
        "origin": edit.origin,
        "note": edit.note,
        "counts": counts,
        "undone_by": edit.undone_by,
        "undoes": edit.undoes,
    }
