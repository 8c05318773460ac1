"""The shapes of all JSON answers, as JSON Schema."""

from __future__ import annotations

from typing import Any


def _object(properties: dict[str, Any], *optional: str, more: bool = False) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": more}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_TEXT, _NUMBER, _COUNT, _YES = {"type": "string"}, {"type": "number"}, {"type": "integer"}, {"type": "boolean"}
_HASH = {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 of the content"}

_NEIGHBOR = _object({"path": _TEXT, "label": _TEXT, "similarity": _NUMBER, "id": _or_null(_HASH)})
_CANDIDATE = _object(
    {
        "label": _TEXT,
        "score": _NUMBER,
        "rerank_score": _or_null(_NUMBER),
        "encoder": _TEXT,
        "neighbors": _list(_ref("Neighbor")),
    },
    "encoder",
    "neighbors",
)
_RESULT = _object(
    {
        "id": _or_null(_HASH),
        "path": {"type": "null", "description": "Always null: the image has no file on the server"},
        "label": _TEXT,
        "score": _NUMBER,
        "is_unknown": _YES,
        "action": {"enum": ["accept", "rerank", "reject"]},
        "reason": {
            "enum": ["confident", "ambiguous", "novel", "forced", "reranked", "reranker_failed", "unreadable"],
        },
        "why": _TEXT,
        "used_reranker": _YES,
        "disagreement": _or_null(_NUMBER),
        "similarity": _or_null(_NUMBER),
        "familiarity": _or_null(_NUMBER),
        "error": _or_null(_TEXT),
        "content_hash": _or_null(_HASH),
        "encoders": _list(_TEXT),
        "prediction_set": _or_null(_list(_TEXT)),
        "candidates": _list(_ref("Candidate")),
        "index_version": _COUNT,
    },
    "encoders",
)
_EXAMPLE = _object({"id": _HASH, "path": _TEXT, "label": _TEXT})
_SKIPPED = _object({"path": _TEXT, "reason": _TEXT, "kind": _TEXT})
_EDIT_REPORT = _object(
    {
        "edit": _or_null(_COUNT),
        "added": _list(_EXAMPLE),
        "removed": _list(_TEXT),
        "relabeled": _list(_object({"path": _TEXT, "former": _TEXT, "label": _TEXT})),
        "skipped": _list(_SKIPPED),
        "examples": _COUNT,
        "stale": _list(_TEXT),
        "visible": {"type": "boolean", "description": "Whether results take the edit into account already"},
        "index_version": _COUNT,
    }
)
_EDIT = _object(
    {
        "id": _COUNT,
        "time": {"type": "string", "format": "date-time"},
        "kind": _TEXT,
        "origin": _TEXT,
        "note": _TEXT,
        "counts": {"type": "object", "additionalProperties": _COUNT},
        "undone_by": _or_null(_COUNT),
        "undoes": _or_null(_COUNT),
    }
)
_INDEX = _object(
    {
        "version": _COUNT,
        "examples": _COUNT,
        "labels": _COUNT,
        "encoders": _list(_object({"name": _TEXT, "encoder": _TEXT, "dim": _COUNT})),
        "calibration": {"type": "object"},
        "thresholds": {"type": "object"},
        "stale": _list(_TEXT),
        "lag_seconds": _NUMBER,
        "is_writer": _YES,
        "why_not_writer": _or_null(_TEXT),
        "run": _TEXT,
    }
)
_DECISION = _object({"kind": {"enum": ["label", "unknown", "skip"]}, "label": _TEXT})
_RUN = _object(
    {
        "id": _COUNT,
        "source": _object({"kind": {"enum": ["folder", "upload"]}, "root": _or_null(_TEXT), "folder": _or_null(_TEXT)}),
        "created": {"type": "string", "format": "date-time"},
        "state": {"enum": ["waiting", "running", "receiving", "interrupted", "done", "cancelled", "failed"]},
        "total": _or_null(_COUNT),
        "items": _COUNT,
        "open": _COUNT,
        "decided": _COUNT,
        "confident": _COUNT,
        "unreadable": _COUNT,
        "failure": _or_null(_TEXT),
    }
)
_ITEM = _object(
    {
        **_RESULT["properties"],
        "id": _COUNT,
        "run": _COUNT,
        "name": _TEXT,
        "change": _COUNT,
        "apart": _YES,
        "decision": _or_null(_DECISION),
        "content_hash": {"anyOf": [_HASH, {"enum": [None, ""]}]},
    },
    "encoders",
)
_GROUP = _object(
    {
        "id": _TEXT,
        "kind": {"enum": ["new_class", "compete", "near_threshold"]},
        "size": _COUNT,
        "suggested_label": _or_null(_TEXT),
        "gain": _NUMBER,
        "tightness": _NUMBER,
        "score": _NUMBER,
        "items": _list(_ref("Item")),
        "rest": _list(_COUNT),
    }
)
_ANSWER = _object(
    {
        "id": _COUNT,
        "run": _COUNT,
        "time": {"type": "string", "format": "date-time"},
        "state": {"enum": ["teaching", "done", "undoing", "undone"]},
        "kind": {"enum": ["label", "unknown", "skip", "not_in_group"]},
        "label": _TEXT,
        "edit": _or_null(_COUNT),
        "size": _COUNT,
        "items": _list(_COUNT),
    }
)
_REVIEW_SCHEMAS = {
    "Run": _RUN,
    "Runs": _object({"runs": _list(_ref("Run")), "roots": _list(_TEXT), "next": _or_null(_COUNT)}),
    "Deleted": _object({"run": _COUNT}),
    "Added": _object({"run": _COUNT, "items": _list(_COUNT)}),
    "Item": _ITEM,
    "Group": _GROUP,
    "Review": _object(
        {
            "run": _ref("Run"),
            "groups": _list(_ref("Group")),
            "cursor": _TEXT,
            "next": _or_null(_TEXT),
            "index_version": _COUNT,
        }
    ),
    "Answer": _ANSWER,
    "Answers": _object({"answers": _list(_ref("Answer")), "next": _or_null(_COUNT)}),
    "Decided": _object(
        {
            "answer": _or_null(_COUNT),
            "edit": _or_null(_COUNT),
            "re_voted": _or_null(_COUNT),
            "newly_confident": _or_null(_COUNT),
            "newly_open": _or_null(_COUNT),
            "refused": {"type": "object", "additionalProperties": _TEXT},
            "index_version": _COUNT,
        }
    ),
    "Stopping": _object(
        {
            "target": _NUMBER,
            "undecided": _COUNT,
            "open": _COUNT,
            "deciding": _COUNT,
            "precision": _or_null(_NUMBER),
            "calibrated": _YES,
            "share": _NUMBER,
            "may_stop": _YES,
        }
    ),
}
SCHEMAS: dict[str, Any] = {
    **_REVIEW_SCHEMAS,
    "Problem": _object(
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": _TEXT,
            "status": _COUNT,
            "detail": _TEXT,
            "instance": _TEXT,
            "kind": _TEXT,
            "queue": _object({"depth": _COUNT, "limit": _COUNT, "expected_wait_s": _NUMBER}),
            "conflicts": _list(_object({"path": _TEXT, "seen_label": _TEXT, "label": _or_null(_TEXT)})),
        },
        "kind",
        "queue",
        "conflicts",
        more=True,
    ),
    "State": _object({"status": _TEXT, "reason": _or_null(_TEXT)}, "reason"),
    "Neighbor": _NEIGHBOR,
    "Candidate": _CANDIDATE,
    "Result": _RESULT,
    "Results": _object({"results": _list(_ref("Result"))}),
    "Example": _EXAMPLE,
    "Examples": _object({"examples": _list(_ref("Example")), "next": _or_null(_TEXT), "index_version": _COUNT}),
    "Labels": _object({"labels": _list(_object({"label": _TEXT, "examples": _COUNT})), "index_version": _COUNT}),
    "EditReport": _EDIT_REPORT,
    "Edit": _EDIT,
    "Edits": _object({"edits": _list(_ref("Edit")), "next": _or_null(_COUNT)}),
    "Index": _INDEX,
    "Config": {"type": "object"},
    "Session": _object({"permission": {"enum": ["read", "teach"]}}),
    "OpenAPI": {"type": "object"},
}
