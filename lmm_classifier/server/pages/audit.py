"""Findings of the audit, one at a time: repair, call right, or remove; each is one edit that can be undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import numpy as np
from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from lmm_classifier.evaluation.duplicates import Duplicates
from lmm_classifier.evaluation.findings import LabelIssue
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.build.reports import EditReport
from lmm_classifier.server.background.auditing import AuditView, Finding
from lmm_classifier.server.pages.environment import render
from lmm_classifier.server.pages.forms import Form, applied, field, label_of, number, read_form
from lmm_classifier.server.pages.notices import notice_of
from lmm_classifier.server.pages.results.result_cards import Near
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.routes.examples import ORIGIN
from lmm_classifier.server.state import ServerState, state_of

router: APIRouter = APIRouter(include_in_schema=False)

KINDS = {"suspects": "label", "duplicates": "duplicates", "outliers": "outlier"}  # in addresses: kinds of findings
_TITLES = {"suspects": "Labels to check", "duplicates": "Duplicates", "outliers": "Outliers"}
_STRIP = 12  # findings in the strip
_NEAREST = 4  # examples of each label that are shown

_Edit = Callable[[IndexEditor], EditReport]


@router.post("/dataset/audit")
async def start(request: Request) -> Response:
    """Audit the newest version."""
    state = state_of(request)
    await run_in_threadpool(state.auditing.start)
    return RedirectResponse("/dataset", 303)


@router.get("/dataset/audit/state")
def progress(request: Request) -> Response:
    """Return the part of the page that says how far the audit is."""
    return render(request, "audit_state_alone.html", audit=state_of(request).auditing.view())


@router.get("/dataset/audit/{name}")
def finding(request: Request, name: str) -> Response:
    """Show one finding of a kind."""
    state = state_of(request)
    view = state.auditing.view()
    found = view.findings[_kind(name)]
    at = min(number(request.query_params.get("at", "")), max(len(found) - 1, 0))
    start = max(0, min(at - 2, len(found) - _STRIP))
    return render(
        request,
        "finding.html",
        name=name,
        kind_of_page=_kind(name),
        title=_TITLES[name],
        kinds=kinds_of(view),
        audit=view,
        count=len(found),
        at=at,
        found=_shown(state, found[at]) if found else None,
        strip=[(place, _first_id(found[place])) for place in range(start, min(start + _STRIP, len(found)))],
        labels=state.classifier.index.label_names,
        notice=notice_of(request),
    )


@router.post("/dataset/audit/{name}")
async def decide(request: Request, name: str) -> Response:
    """Do what a person decided about a finding, if it still holds."""
    state, form, kind = state_of(request), await read_form(request, 10_000), _kind(name)
    view = await run_in_threadpool(state.auditing.view)
    found = view.finding(kind, field(form, "finding"))
    if found is None:
        raise ProblemError("conflict", "Somebody has settled this finding meanwhile. Nothing was changed.")
    action = field(form, "action")
    then = f"/dataset/audit/{name}?{urlencode({'at': number(form.get('at', [''])[0])})}"
    return await applied(request, action, _edit_of(found, action, form), then, visible=True)


def kinds_of(view: AuditView) -> list[tuple[str, str, int | None]]:
    """Return the kinds of findings for the navigation: address, title and number, None before the first audit."""
    counts = {kind: len(view.findings[KINDS[kind]]) if view.audit else None for kind in KINDS}
    return [(kind, title, counts[kind]) for kind, title in _TITLES.items()]


def _edit_of(found: Finding, action: str, form: Form) -> _Edit:
    """Return the edit that an action means."""
    if action == "keep":
        return lambda editor: editor.dismiss([found.dismissal], origin=ORIGIN)
    if isinstance(found, Duplicates):
        chosen = number(form.get("position", [""])[0])
        if action != "only" or chosen >= len(found.paths):
            raise ProblemError("malformed-request", "Expected the action keep, or only with a position.")
        gone = {path: label for place, (path, label) in enumerate(zip(found.paths, found.labels)) if place != chosen}
        return lambda editor: editor.remove([*gone], expect=gone, origin=ORIGIN)
    seen = {found.path: found.label}
    if action == "remove":
        return lambda editor: editor.remove([*seen], expect=seen, origin=ORIGIN)
    if action != "fix":
        raise ProblemError("malformed-request", "Expected the action fix, keep or remove.")
    label = label_of(form)
    return lambda editor: editor.relabel([*seen], label, expect=seen, origin=ORIGIN)


def _shown(state: ServerState, found: Finding) -> dict[str, Any]:
    """Return what the page shows of a finding."""
    values: dict[str, Any] = {"finding": found.dismissal.id, "suggested": None, "groups": []}
    if isinstance(found, Duplicates):
        rows = zip(found.content_hashes, found.paths, found.labels, strict=True)
        values["examples"] = [{"id": content, "path": path, "label": label} for content, path, label in rows]
        how = "have the same bytes" if found.exact else f"show the same image, as their {found.compared} say"
        labels = f" They have {len(set(found.labels))} labels." if found.contradict else ""
        return values | {"says": f"These {len(found.paths)} files {how}.{labels}", "is_group": True}
    values["examples"] = [{"id": found.content_hash, "path": found.path, "label": found.label}]
    values["is_group"] = False
    if isinstance(found, LabelIssue):
        chance = "less than 1 %" if found.probability < 0.01 else f"about {100 * found.probability:.0f} %"
        values["suggested"] = found.suggested
        values["says"] = f"The other examples give its label a probability of {chance}."
        names = (found.label, found.suggested)
        values["groups"] = [(name, _nearest(state, found.path, name)) for name in names]
        return values
    nearest = [
        Near(state.ids.hash_of(near.example.path), near.example.label, near.similarity) for near in found.neighbors
    ]
    values["says"] = "Nothing in the dataset is similar to it."
    return values | {"groups": [("the nearest examples", nearest)]}


def _nearest(state: ServerState, path: str, label: str) -> list[Near]:
    """Return the nearest examples of a label with other content."""
    index, ids = state.classifier.index, state.ids
    own = ids.hash_of(path)
    if own is None or label not in index.label_names:
        return []
    embeddings = index.gallery.embeddings
    rows = index.gallery.rows_of_label[index.label_names.index(label)]
    rows = rows[np.isin(rows, ids.rows_of(own), invert=True)]
    cosines = embeddings[rows] @ embeddings[ids.rows_of(own)[0]]
    order = np.argsort(-cosines, kind="stable")[:_NEAREST]
    return [Near(ids.contents.hashes[int(rows[place])], label, float(cosines[place])) for place in order]


def _first_id(found: Finding) -> str:
    return found.content_hashes[0] if isinstance(found, Duplicates) else found.content_hash


def _kind(name: str) -> str:
    if name not in KINDS:
        raise ProblemError("not-found", "The audit has no findings of this name.")
    return KINDS[name]
