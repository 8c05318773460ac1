"""`/v1/audit`: what is likely wrong in the dataset, and what a person has called right."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier.core.datatypes import Neighbor
from lmm_classifier.evaluation.duplicates import Duplicates
from lmm_classifier.evaluation.findings import LabelIssue, Outlier
from lmm_classifier.index.dismissals import FINDING_KINDS, Dismissal
from lmm_classifier.server.background.auditing import AuditView, Finding
from lmm_classifier.server.openapi import NOT_MODIFIED, described, query, reference
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.results import AsciiJson, ExampleIds, tagged
from lmm_classifier.server.routes.bodies import Dismissing, read_body
from lmm_classifier.server.routes.examples import ORIGIN, PARAMETERS, PROBLEMS, edited
from lmm_classifier.server.state import state_of

router: APIRouter = APIRouter()

_PAGE = 100  # findings
_CURSOR = {"type": "string", "pattern": "^[0-9]{1,9}$"}


@router.get(
    "/v1/audit",
    **described(
        "A page of findings, the worst first",
        "Audit",
        NOT_MODIFIED,
        [
            query("kind", "Findings of this kind.", {"type": "string", "enum": [*FINDING_KINDS], "default": "label"}),
            query("cursor", "The member `next` of the page before.", _CURSOR),
        ],
    ),
)
async def audit(request: Request) -> Response:
    """List findings of the last audit that still hold; the first call starts an audit in the background."""
    state, kind = state_of(request), request.query_params.get("kind", "label")
    if kind not in FINDING_KINDS:
        raise ProblemError("malformed-request", f"kind must be one of {', '.join(FINDING_KINDS)}, got {kind[:40]!r}.")
    start = _start(request.query_params.get("cursor", "0"))
    view = await asyncio.to_thread(state.auditing.view)
    return tagged(request, await asyncio.to_thread(_values, view, state.ids, kind, start))


@router.post("/v1/audit", **described("The audit runs", "Audit", None, status=202))
async def start(request: Request) -> Response:
    """Audit the newest version of the index in the background, unless an audit runs."""
    state = state_of(request)
    await asyncio.to_thread(state.auditing.start)
    view = await asyncio.to_thread(state.auditing.view)
    return AsciiJson(await asyncio.to_thread(_values, view, state.ids, "label", 0), 202, {"Location": "/v1/audit"})


@router.post(
    "/v1/audit/dismissals",
    **described(
        "Later audits leave these findings out",
        "EditReport",
        PROBLEMS,
        PARAMETERS,
        {"application/json": reference("Dismissing")},
    ),
)
async def dismiss(request: Request) -> Response:
    """Call findings right, in one edit; they are left out until an image or a label in them changes."""
    state = state_of(request)
    body = await read_body(request, state, Dismissing)
    state.editing.require_writer()
    findings = []
    for place, finding in enumerate(body.findings):
        try:
            findings.append(Dismissal.of(finding.kind, [(seen.id, seen.label) for seen in finding.examples]))
        except ValueError:
            raise ProblemError(
                "malformed-request", f"findings.{place}: a finding of this kind is about one example."
            ) from None
    return await edited(
        request,
        "dismiss",
        body.model_dump_json(),
        lambda editor: editor.dismiss(findings, note=body.note, origin=ORIGIN),
    )


def _values(view: AuditView, ids: ExampleIds, kind: str, start: int) -> dict[str, Any]:
    found, last = view.findings[kind], view.audit
    progress = view.progress
    return {
        "state": view.state,
        "progress": None
        if progress is None
        else {"stage": progress.stage, "done": progress.done, "total": progress.total},
        "error": view.error or None,
        "audited_version": view.audited_version,
        "index_version": view.index_version,
        "missing": [*view.missing],
        "counts": {name: len(findings) for name, findings in view.findings.items()},
        "accuracy": None if last is None else last.accuracy,
        "wrong_labels_expected": None if last is None else last.wrong_labels.expected,
        "findings": [_finding(finding, ids) for finding in found[start : start + _PAGE]],
        "next": str(start + _PAGE) if start + _PAGE < len(found) else None,
    }


def _finding(finding: Finding, ids: ExampleIds) -> dict[str, Any]:
    values: dict[str, Any] = {"kind": finding.dismissal.finding, "finding": finding.dismissal.id}
    if isinstance(finding, Duplicates):
        rows = zip(finding.content_hashes, finding.paths, finding.labels, strict=True)
        return {
            **values,
            "examples": [{"id": content_hash, "path": path, "label": label} for content_hash, path, label in rows],
            "similarity": finding.similarity,
            "compared": finding.compared,
        }
    values |= {
        "examples": [{"id": finding.content_hash, "path": finding.path, "label": finding.label}],
        "neighbors": _neighbors(finding.neighbors, ids),
    }
    if isinstance(finding, Outlier):
        return {**values, "familiarity": finding.familiarity}
    return {**values, **_issue(finding)}


def _issue(issue: LabelIssue) -> dict[str, Any]:
    return {
        "suggested": issue.suggested,
        "label_quality": issue.label_quality,
        "probability": issue.probability,
        "is_likely": issue.likely,
    }


def _neighbors(neighbors: Sequence[Neighbor], ids: ExampleIds) -> list[dict[str, Any]]:
    return [
        {
            "id": ids.hash_of(near.example.path),
            "path": near.example.path,
            "label": near.example.label,
            "similarity": near.similarity,
        }
        for near in neighbors
    ]


def _start(cursor: str) -> int:
    if not re.fullmatch(_CURSOR["pattern"], cursor):
        raise ProblemError("malformed-request", "The cursor is not one that this server gave.")
    return int(cursor)
