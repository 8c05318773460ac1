"""The shapes of the JSON answers about runs and their review, as JSON Schema."""

from __future__ import annotations

from typing import Any

from lmm_classifier.server.routes.schemas import (
    _COUNT,
    _HASH,
    _NUMBER,
    _TEXT,
    _YES,
    SCHEMAS,
    _list,
    _object,
    _or_null,
    _ref,
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
        **SCHEMAS["Result"]["properties"],
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
REVIEW_SCHEMAS: dict[str, Any] = {
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
