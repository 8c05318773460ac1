"""Teach: add, relabel and remove examples."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier.core.errors import ConflictError
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.build.reports import EditReport
from lmm_classifier.index.storage.editing.stored_rows import opened_rows
from lmm_classifier.server.openapi import described, header, query, reference
from lmm_classifier.server.problems import ProblemError, over_http
from lmm_classifier.server.results import AsciiJson
from lmm_classifier.server.routes.bodies import Relabeling, Removal, SeenExample, read_body, switch
from lmm_classifier.server.state import ServerState, state_of
from lmm_classifier.server.uploads import IMAGE, FormParts, Part, Upload, boundary_of, known_part

router: APIRouter = APIRouter()

ORIGIN = "server"  # in the journal
_KEY_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 255}
_KEY = header("Idempotency-Key", "Sent again with the same key, a request gets the first answer.", _KEY_SCHEMA)
_VISIBLE = query("visible", "Wait until results take the edit into account.", {"type": "boolean", "default": True})
PARAMETERS = [_VISIBLE, _KEY]
PROBLEMS = dict.fromkeys((409, 413, 415, 422, 429), "Problem")
_FORM: dict[str, Any] = {
    "type": "object",
    "required": ["image", "label"],
    "properties": {
        "image": {"type": "array", "minItems": 1, "items": {"type": "string", "contentMediaType": "image/*"}},
        "label": {"type": "string"},
        "note": {"type": "string"},
    },
    "additionalProperties": False,
}


@router.post(
    "/v1/examples",
    **described(
        "The images are examples now", "EditReport", PROBLEMS, PARAMETERS, {"multipart/form-data": _FORM}, status=201
    ),
)
async def add(request: Request) -> Response:
    """Add the images of a form with one label, in one edit. Images that are examples already are skipped."""
    state = state_of(request)
    state.editing.require_writer()
    boundary = boundary_of(request.headers.get("content-type", ""))
    if boundary is None:
        raise ProblemError("unsupported-media-type", "Expected multipart/form-data.", {"Connection": "close"})
    upload = Upload(request, state.held, state.settings.max_multipart)
    async with upload.opened():
        form = FormParts(upload, boundary, state.settings.max_body, state.settings.max_parts)
        parts = [known_part(part, [*_FORM["properties"]]) async for part in form]
        images = [part.data for part in parts if part.name == IMAGE]
        label, note = _field(parts, "label"), _field(parts, "note")
        if not images or label is None:
            raise ProblemError("malformed-request", "Expected parts named `image`, and one named `label`.")
        digest = await asyncio.to_thread(_digest_of, label, note or "", images)
        return await edited(
            request, "add", digest, lambda editor: editor.add(images, label, note=note or "", origin=ORIGIN), 201
        )


@router.patch(
    "/v1/examples",
    **described(
        "The examples have the label now",
        "EditReport",
        PROBLEMS,
        PARAMETERS,
        {"application/json": reference("Relabeling")},
    ),
)
async def relabel(request: Request) -> Response:
    """Give examples another label, in one edit. If one does not have the label that was seen, nothing is changed."""
    state = state_of(request)
    body = await read_body(request, state, Relabeling)
    expect = await _expected(state, body.examples)
    return await edited(
        request,
        "relabel",
        body.model_dump_json(),
        lambda editor: editor.relabel([*expect], body.label, expect=expect, note=body.note, origin=ORIGIN),
    )


@router.delete(
    "/v1/examples",
    **described(
        "The examples are removed", "EditReport", PROBLEMS, PARAMETERS, {"application/json": reference("Removal")}
    ),
)
async def remove(request: Request) -> Response:
    """Remove examples, in one edit. If one does not have the label that was seen, nothing is changed."""
    state = state_of(request)
    body = await read_body(request, state, Removal)
    expect = await _expected(state, body.examples)
    return await edited(
        request,
        "remove",
        body.model_dump_json(),
        lambda editor: editor.remove([*expect], expect=expect, note=body.note, origin=ORIGIN),
    )


async def edited(
    request: Request, kind: str, body: str, edit: Callable[[IndexEditor], EditReport], status: int = 200
) -> Response:
    """Make an edit and return its report.

    Args:
        request: may have an `Idempotency-Key`, and says whether to wait until the edit counts.
        kind: of the edit.
        body: identifies what is asked for.
        edit: makes it.
        status: of the answer.
    """
    state = state_of(request)
    visible = switch(request, "visible")
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= 255:
        raise ProblemError("malformed-request", "Idempotency-Key must have 1 to 255 characters.")

    async def values() -> dict[str, Any]:
        report = await state.editing.run(kind, edit, visible)
        return await asyncio.to_thread(_report_values, state, report)

    identity = f"{request.method} {request.url.path} {body}"
    return AsciiJson(await state.editing.once(key, identity, values), status)


def _report_values(state: ServerState, report: EditReport) -> dict[str, Any]:
    changes, ids = report.changes, state.ids
    return {
        "edit": report.edit,
        "added": _added(state, changes.added),
        "removed": [*changes.removed],
        "relabeled": [{"path": path, "former": former, "label": label} for path, former, label in changes.relabeled],
        "skipped": [{"path": file.path, "reason": file.reason, "kind": file.kind} for file in report.skipped],
        "examples": report.images,
        "stale": [*map(over_http, report.stale)],
        "visible": state.classifier.index_lag == 0,
        "index_version": ids.contents.version,
    }


def _added(state: ServerState, paths: Sequence[str]) -> list[dict[str, str]]:
    """Return examples as the index has them now, which may be newer than what answers; without those that are gone."""
    if not paths:
        return []
    with opened_rows(state.classifier.editor().path) as rows:
        records = [record for record in map(rows.record, paths) if record is not None]
    for record in records:
        state.ids.hash_of(record.path)  # its thumbnail is found by it, also after the example is removed
    return [{"id": record.content_hash, "path": record.path, "label": record.label} for record in records]


async def _expected(state: ServerState, seen: Sequence[SeenExample]) -> dict[str, str]:
    """Return the ids in the dataset of examples, each with the label that the caller saw.

    Raises:
        ConflictError: there is no such example any more.
    """
    state.editing.require_writer()
    expected, missing = _found(state, seen)
    if missing:  # an example may be newer than the version that answers
        await state.editing.wait()
        expected, missing = _found(state, seen)
    if missing:
        raise ConflictError.of({example.id: (example.seen_label, None) for example in missing})
    return expected


def _found(state: ServerState, seen: Sequence[SeenExample]) -> tuple[dict[str, str], list[SeenExample]]:
    ids, expected, missing = state.ids, dict[str, str](), []
    for example in seen:
        paths = [found.path for found in ids.examples(ids.rows_of(example.id))]
        chosen = [path for path in paths if example.path in (None, path)]
        expected |= dict.fromkeys(chosen, example.seen_label)
        missing += [] if chosen else [example]
    return expected, missing


def _digest_of(label: str, note: str, images: Sequence[bytes]) -> str:
    """Return a digest of a request, without a copy of its images."""
    digest = sha256()
    for part in (label.encode("utf-8", "surrogatepass"), note.encode("utf-8", "surrogatepass"), *images):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.hexdigest()


def _field(parts: Sequence[Part], name: str) -> str | None:
    """Return the text of a part, None where there is none."""
    found = [part.data for part in parts if part.name == name]
    if not found:
        return None
    if len(found) > 1:
        raise ProblemError("malformed-request", f"The form has the part {name} more than once.")
    try:
        return found[0].decode()
    except UnicodeDecodeError:
        raise ProblemError("malformed-request", f"The part {name} is no UTF-8.") from None
