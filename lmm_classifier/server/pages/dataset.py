"""The dataset: all labels with samples, the examples of one label, and changes of both."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from lmm_classifier.core.errors import ConflictError
from lmm_classifier.core.labels import normal_label
from lmm_classifier.evaluation.findings import ConfusablePair
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.build.reports import Edit, EditReport
from lmm_classifier.server.pages.audit import kinds_of
from lmm_classifier.server.pages.environment import last_segment, render, segment
from lmm_classifier.server.pages.forms import Form, applied, label_of, number, read_form
from lmm_classifier.server.pages.notices import named_edit, notice_of
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.results import CONTENT_HASH, ExampleIds
from lmm_classifier.server.routes.examples import ORIGIN
from lmm_classifier.server.state import state_of

router: APIRouter = APIRouter(include_in_schema=False)

LABELS = "/dataset/labels/"
_LABELS_SHOWN, _EXAMPLES_SHOWN, _PAIRS_SHOWN = 48, 96, 20
_SORTS = ("name", "fewest", "most")


@router.get("/dataset")
def dataset(request: Request) -> Response:
    """Show all labels with their numbers of examples and samples, and what the audit found."""
    state, params = state_of(request), request.query_params
    wanted, sort = params.get("q", "").strip(), params.get("sort", "name")
    rows = state.ids.rows_by_label
    names = [name for name in rows if wanted.casefold() in name.casefold()]
    if sort in ("fewest", "most"):
        names.sort(key=lambda name: len(rows[name]), reverse=sort == "most")
    page = _page_of(params.get("page", ""), len(names), _LABELS_SHOWN)
    start = (page - 1) * _LABELS_SHOWN
    view = state.auditing.view()
    pairs = [] if view.audit is None else [pair for pair in view.audit.confusable if _is_there(pair, rows)]
    return render(
        request,
        "dataset.html",
        labels=state.ids.label_values(names[start : start + _LABELS_SHOWN]),
        wanted=wanted,
        sort=sort if sort in _SORTS else "name",
        sorts=_SORTS,
        page=page,
        count=len(names),
        size=_LABELS_SHOWN,
        audit=view,
        kinds=kinds_of(view),
        confusable=pairs[:_PAIRS_SHOWN],
        more_pairs=max(len(pairs) - _PAIRS_SHOWN, 0),
        notice=notice_of(request),
    )


@router.get(LABELS + "{name:path}")
def label(request: Request, name: str) -> Response:  # noqa: ARG001 - a slash in it is read from the bytes
    """Show the examples of a label, and the forms that change them."""
    state, wanted = state_of(request), last_segment(request, LABELS)
    ids = state.ids
    rows = ids.rows_by_label.get(wanted)
    if rows is None:
        if (edit := named_edit(request)) is not None:  # such as the undoing of a renaming
            return RedirectResponse(_where_they_went(wanted, edit), 303)
        raise ProblemError("not-found", f"No example has the label {wanted!r}.")
    page = _page_of(request.query_params.get("page", ""), len(rows), _EXAMPLES_SHOWN)
    shown = rows[(page - 1) * _EXAMPLES_SHOWN : page * _EXAMPLES_SHOWN]
    view = state.auditing.view(starts=False)
    confusions = state.auditing.confusions() or {}
    return render(
        request,
        "label.html",
        label=wanted,
        examples=ids.examples(shown),
        page=page,
        count=len(rows),
        size=_EXAMPLES_SHOWN,
        labels=[*ids.rows_by_label],
        kinds=kinds_of(view),
        confusable=[other.label for other in confusions.get(wanted, ()) if other.label in ids.rows_by_label],
        notice=notice_of(request),
    )


@router.post(LABELS + "{name:path}")
async def change_label(request: Request, name: str) -> Response:  # noqa: ARG001
    """Rename a label, or relabel or remove the chosen examples of it; each is one edit."""
    wanted, form = last_segment(request, LABELS), await read_form(request)
    action = form.get("action", [""])[0]
    if action == "rename":
        return await _rename(request, wanted, form)
    if action not in ("relabel", "remove"):
        raise ProblemError("malformed-request", "Expected the action rename, relabel or remove.")
    seen = await run_in_threadpool(_chosen, state_of(request).ids, wanted, form)
    new = label_of(form) if action == "relabel" else ""

    def edit(editor: IndexEditor) -> EditReport:
        if action == "remove":
            return editor.remove([*seen], expect=seen, origin=ORIGIN)
        return editor.relabel([*seen], new, expect=seen, origin=ORIGIN)

    return await applied(request, action, edit, await _address_after(request, wanted, len(seen)))


async def _rename(request: Request, wanted: str, form: Form) -> Response:
    """Rename; a page asks first where that merges two labels."""
    state, new = state_of(request), normal_label(label_of(form))
    rows = state.ids.rows_by_label
    if new in rows and new != wanted and "merge" not in form:
        counts: dict[str, Any] = {
            "label": wanted,
            "new": new,
            "count": len(rows.get(wanted, ())),
            "others": len(rows[new]),
        }
        return await run_in_threadpool(render, request, "merge.html", **counts)
    return await applied(
        request,
        "rename_label",
        lambda editor: editor.rename_label(wanted, new, origin=ORIGIN),
        LABELS + segment(new),
    )


async def _address_after(request: Request, wanted: str, gone: int) -> str:
    """Return the page of a label, or that of the dataset where no example keeps the label."""
    left = len(state_of(request).ids.rows_by_label.get(wanted, ())) - gone
    return LABELS + segment(wanted) if left > 0 else "/dataset"


def _where_they_went(label: str, edit: Edit) -> str:
    """Return the page of the label that an edit gave to the examples of another, or that of the dataset."""
    new = next((new for _, former, new in edit.changes.relabeled if former == label), None)
    return f"{'/dataset' if new is None else LABELS + segment(new)}?edit={edit.id}"


def _chosen(ids: ExampleIds, label: str, form: Form) -> dict[str, str]:
    """Return the ids in the dataset of the chosen examples, each with the label that was seen."""
    chosen = [name for name in form.get("example", []) if CONTENT_HASH.fullmatch(name)]
    if not chosen:
        raise ProblemError("malformed-request", "No example was chosen. Choose one or more.")
    seen, missing = dict[str, str](), dict[str, tuple[str, str | None]]()
    for content_hash in chosen:
        found = [example for example in ids.examples(ids.rows_of(content_hash)) if example.label == label]
        seen |= {example.path: label for example in found}
        if not found:
            missing[content_hash] = label, None
    if missing:
        raise ConflictError.of(missing)
    return seen


def _is_there(pair: ConfusablePair, labels: Container[str]) -> bool:
    """Return whether both labels still exist; edits may have come after the audit."""
    return pair.label in labels and pair.predicted_as in labels


def _page_of(text: str, count: int, size: int) -> int:
    """Return a page that exists."""
    return min(max(number(text), 1), max(-(-count // size), 1))
