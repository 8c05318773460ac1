"""The shapes of runs and of their review, as JSON Schema."""

from __future__ import annotations

from typing import Any

from lmm_classifier.server.schemas.parts import (
    COUNT,
    HASH,
    NUMBER,
    TEXT,
    YES,
    list_of,
    object_of,
    or_null,
    reference_to,
)
from lmm_classifier.server.schemas.results import RESULT

_DECISION = object_of({"kind": {"enum": ["label", "unknown", "skip", "accept"]}, "label": TEXT})
_TESTED = {
    "name": TEXT,
    "familiarity": NUMBER,
    "p": NUMBER,
    "factor": NUMBER,
    "item": {**or_null(COUNT), "description": "After an alarm, the item with this name"},
    "content_hash": or_null(HASH),
}
_DRIFT = object_of(
    {
        "images": COUNT,
        "log10_evidence": NUMBER,
        "log10_highest": NUMBER,
        "log10_alarm": NUMBER,
        "is_alarm": YES,
        "alarm_at": or_null(COUNT),
        "mean_p": NUMBER,
        "evidence": list_of(object_of(_TESTED)),
    }
)
_RUN = object_of(
    {
        "id": COUNT,
        "source": object_of({"kind": {"enum": ["folder", "upload"]}, "root": or_null(TEXT), "folder": or_null(TEXT)}),
        "created": {"type": "string", "format": "date-time"},
        "state": {"enum": ["waiting", "running", "receiving", "interrupted", "done", "cancelled", "failed"]},
        "total": or_null(COUNT),
        "items": COUNT,
        "open": COUNT,
        "decided": COUNT,
        "confident": COUNT,
        "unreadable": COUNT,
        "failure": or_null(TEXT),
        "drift": or_null(_DRIFT),
    }
)
_ITEM = object_of(
    {
        **RESULT["properties"],
        "id": COUNT,
        "run": COUNT,
        "name": TEXT,
        "change": COUNT,
        "apart": YES,
        "decision": or_null(_DECISION),
        "content_hash": {"anyOf": [HASH, {"enum": [None, ""]}]},
    },
    *("encoders", "level", "label_path"),
)
_GROUP = object_of(
    {
        "id": TEXT,
        "kind": {"enum": ["new_class", "compete", "near_threshold"]},
        "size": COUNT,
        "suggested_label": or_null(TEXT),
        "nearest_label": {**or_null(TEXT), "description": "Of a new class: the label that it resembles most"},
        "is_proposal": {**YES, "description": "Whether `discover` would propose the group as a new label"},
        "gain": NUMBER,
        "tightness": NUMBER,
        "score": NUMBER,
        "items": list_of(reference_to("Item")),
        "rest": list_of(COUNT),
    }
)
_ANSWER = object_of(
    {
        "id": COUNT,
        "run": COUNT,
        "time": {"type": "string", "format": "date-time"},
        "state": {"enum": ["teaching", "done", "undoing", "undone"]},
        "kind": {"enum": ["label", "unknown", "skip", "not_in_group", "accept"]},
        "label": TEXT,
        "edit": or_null(COUNT),
        "size": COUNT,
        "items": list_of(COUNT),
    }
)
REVIEW_SCHEMAS: dict[str, Any] = {
    "Run": _RUN,
    "Runs": object_of({"runs": list_of(reference_to("Run")), "roots": list_of(TEXT), "next": or_null(COUNT)}),
    "Deleted": object_of({"run": COUNT}),
    "Added": object_of({"run": COUNT, "items": list_of(COUNT)}),
    "Item": _ITEM,
    "Group": _GROUP,
    "Review": object_of(
        {
            "run": reference_to("Run"),
            "groups": list_of(reference_to("Group")),
            "cursor": TEXT,
            "next": or_null(TEXT),
            "index_version": COUNT,
        }
    ),
    "Answer": _ANSWER,
    "Answers": object_of({"answers": list_of(reference_to("Answer")), "next": or_null(COUNT)}),
    "Decided": object_of(
        {
            "answer": or_null(COUNT),
            "edit": or_null(COUNT),
            "re_voted": or_null(COUNT),
            "newly_confident": or_null(COUNT),
            "newly_open": or_null(COUNT),
            "refused": {"type": "object", "additionalProperties": TEXT},
            "index_version": COUNT,
        }
    ),
    "Stopping": object_of(
        {
            "target": NUMBER,
            "undecided": COUNT,
            "open": COUNT,
            "deciding": COUNT,
            "precision": or_null(NUMBER),
            "calibrated": YES,
            "share": NUMBER,
            "may_stop": YES,
        }
    ),
}
