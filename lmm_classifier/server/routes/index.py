"""What is in the index, and how the server is configured."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier.core.labels import normal_label
from lmm_classifier.core.settings import Settings, holds_secrets
from lmm_classifier.pipeline.run_identity import run_identity
from lmm_classifier.server.openapi import NOT_MODIFIED, described, query
from lmm_classifier.server.problems import ProblemError, over_http
from lmm_classifier.server.results import tagged
from lmm_classifier.server.state import ServerState, state_of

router: APIRouter = APIRouter()

_PAGE = 200  # examples
_HIDDEN = {"model", "model_name", "base_url", "proxy", "extra_body"}  # may hold paths, addresses or keys
_SET = "…"  # stands for a value that is not shown


@router.get("/v1/index", **described("The index that answers", "Index", NOT_MODIFIED))
async def index(request: Request) -> Response:
    """Describe the index that answers: its version, size, encoders, calibration and thresholds."""
    state = state_of(request)
    values = await asyncio.to_thread(_index_values, state)
    return tagged(request, values)


@router.get("/v1/config", **described("The settings in use", "Config", NOT_MODIFIED))
async def config(request: Request) -> Response:
    """Return the settings in use, without secrets and without paths of the server."""
    return tagged(request, _shown(state_of(request).classifier.config))


@router.get("/v1/labels", **described("All labels", "Labels", NOT_MODIFIED))
async def labels(request: Request) -> Response:
    """List all labels, with the ids of some examples, and with the labels that the last audit found them confused with.

    A label is `thin` where it has fewer than 5 examples. `confusable` is null before the first audit.
    """
    state = state_of(request)
    return tagged(request, await asyncio.to_thread(_labels_values, state))


@router.get(
    "/v1/examples",
    **described(
        "A page of examples",
        "Examples",
        NOT_MODIFIED,
        [
            query("label", "Only examples of this label.", {"type": "string"}),
            query("cursor", "The member `next` of the page before.", {"type": "string"}),
        ],
    ),
)
async def examples(request: Request) -> Response:
    """List examples in the order of their ids in the dataset, 200 on a page."""
    state = state_of(request)
    label, cursor = request.query_params.get("label"), request.query_params.get("cursor")
    values = await asyncio.to_thread(_page, state, label, cursor)
    return tagged(request, values)


def _index_values(state: ServerState) -> dict[str, Any]:
    classifier, editing = state.classifier, state.editing
    contents = state.ids.contents
    manifest, described_index = contents.manifest, state.describe(contents)
    return {
        "version": contents.version,
        "examples": manifest.count,
        "labels": len(described_index["labels"]),
        "encoders": [
            {"name": name, "encoder": str(entry.fingerprint), "dim": entry.fingerprint.dim}
            for name, entry in zip(manifest.encoder_names, manifest.encoders, strict=True)
        ],
        "calibration": _over_http(described_index["calibration"]),
        "thresholds": classifier.thresholds.to_dict(),
        "stale": _over_http(described_index["stale"]),
        "lag_seconds": round(classifier.index_lag, 3),
        "is_writer": not editing.why_not,
        "why_not_writer": editing.why_not or None,
        "run": run_identity(classifier),
        "levels": classifier.roll_up.height if classifier.roll_up else 0,
    }


def _labels_values(state: ServerState) -> dict[str, Any]:
    ids, auditing = state.ids, state.auditing
    version, confusions = auditing.audited_version, auditing.confusions()
    listed = [
        {
            **values,
            "confusable": None
            if confusions is None
            else [asdict(other) for other in confusions.get(values["label"], ()) if other.label in ids.rows_by_label],
        }
        for values in ids.label_values(list(ids.rows_by_label))
    ]
    return {"labels": listed, "audited_version": version, "index_version": ids.contents.version}


def _page(state: ServerState, label: str | None, cursor: str | None) -> dict[str, Any]:
    ids = state.ids
    wanted = None if label is None else normal_label(label)
    page, following = ids.page(wanted, _after(cursor) if cursor else None, _PAGE)
    return {
        "examples": [asdict(example) for example in page],
        "next": None if following is None else _cursor(following),
        "index_version": ids.contents.version,
    }


def _cursor(path: str) -> str:
    return path.encode("utf-8", "surrogatepass").hex()


def _after(cursor: str) -> str:
    try:
        return bytes.fromhex(cursor).decode("utf-8", "surrogatepass")
    except ValueError:
        raise ProblemError("malformed-request", "The cursor is not one that this server gave.") from None


def _over_http(value: Any) -> Any:
    """Return plain values whose texts tell a client what it can do."""
    match value:
        case str():
            return over_http(value)
        case list():
            return [_over_http(item) for item in value]
        case dict():
            return {name: _over_http(item) for name, item in value.items()}
    return value


def _shown(value: Any) -> Any:
    """Return settings as plain values; a path or a secret is only said to be set."""
    if isinstance(value, Settings):
        return {
            name: _SET if (name in _HIDDEN or holds_secrets(name)) and not isinstance(item, Settings) else _shown(item)
            for name, item in ((name, getattr(value, name)) for name in type(value).model_fields)
        }
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _shown(item) for key, item in value.items()}
    if isinstance(value, Path | SecretStr):
        return _SET
    return value
