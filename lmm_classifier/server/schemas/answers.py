"""The shapes of all JSON answers, as JSON Schema."""

from __future__ import annotations

from typing import Any

from lmm_classifier.server.schemas.audit import AUDIT_SCHEMAS
from lmm_classifier.server.schemas.calibration import CALIBRATION_SCHEMAS
from lmm_classifier.server.schemas.inference import INFERENCE_SCHEMAS
from lmm_classifier.server.schemas.map import EMBED_SCHEMAS, MAP_SCHEMAS
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
from lmm_classifier.server.schemas.results import RESULT_SCHEMAS
from lmm_classifier.server.schemas.review import REVIEW_SCHEMAS

_EXAMPLE = object_of({"id": HASH, "path": TEXT, "label": TEXT})
_CONFUSION = object_of(
    {
        "label": TEXT,
        "predicted_as": {"type": "integer", "description": "Examples of the label that were predicted as this one"},
        "predicted_from": {"type": "integer", "description": "Examples of this one that were predicted as the label"},
    }
)
_LABEL = object_of(
    {
        "label": TEXT,
        "examples": COUNT,
        "samples": list_of(HASH),
        "thin": {"type": "boolean", "description": "Whether it has fewer examples than the audit asks for"},
        "confusable": or_null(list_of(_CONFUSION)),
    }
)
_SKIPPED = object_of({"path": TEXT, "reason": TEXT, "kind": TEXT})
_EDIT_REPORT = object_of(
    {
        "edit": or_null(COUNT),
        "added": list_of(_EXAMPLE),
        "removed": list_of(TEXT),
        "relabeled": list_of(object_of({"path": TEXT, "former": TEXT, "label": TEXT})),
        "skipped": list_of(_SKIPPED),
        "examples": COUNT,
        "stale": list_of(TEXT),
        "visible": {"type": "boolean", "description": "Whether results take the edit into account already"},
        "index_version": COUNT,
    }
)
_EDIT = object_of(
    {
        "id": COUNT,
        "time": {"type": "string", "format": "date-time"},
        "kind": TEXT,
        "origin": TEXT,
        "note": TEXT,
        "counts": {"type": "object", "additionalProperties": COUNT},
        "undone_by": or_null(COUNT),
        "undoes": or_null(COUNT),
    }
)
_INDEX = object_of(
    {
        "version": COUNT,
        "examples": COUNT,
        "labels": COUNT,
        "encoders": list_of(object_of({"name": TEXT, "encoder": TEXT, "dim": COUNT})),
        "calibration": {"type": "object"},
        "thresholds": {"type": "object"},
        "stale": list_of(TEXT),
        "lag_seconds": NUMBER,
        "is_writer": YES,
        "why_not_writer": or_null(TEXT),
        "run": TEXT,
        "levels": {**COUNT, "description": "Levels of coarse labels above the labels; 0 without a hierarchy"},
    }
)
SCHEMAS: dict[str, Any] = {
    **RESULT_SCHEMAS,
    **AUDIT_SCHEMAS,
    **CALIBRATION_SCHEMAS,
    **EMBED_SCHEMAS,
    **INFERENCE_SCHEMAS,
    **MAP_SCHEMAS,
    **REVIEW_SCHEMAS,
    "Problem": object_of(
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": TEXT,
            "status": COUNT,
            "detail": TEXT,
            "instance": TEXT,
            "kind": TEXT,
            "queue": object_of({"depth": COUNT, "limit": COUNT, "expected_wait_s": NUMBER}),
            "conflicts": list_of(object_of({"path": TEXT, "seen_label": TEXT, "label": or_null(TEXT)})),
        },
        "kind",
        "queue",
        "conflicts",
        more=True,
    ),
    "State": object_of({"status": TEXT, "reason": or_null(TEXT)}, "reason"),
    "Example": _EXAMPLE,
    "Examples": object_of(
        {"examples": list_of(reference_to("Example")), "next": or_null(TEXT), "index_version": COUNT}
    ),
    "Labels": object_of(
        {"labels": list_of(_LABEL), "audited_version": or_null(COUNT), "index_version": COUNT},
    ),
    "EditReport": _EDIT_REPORT,
    "Edit": _EDIT,
    "Edits": object_of({"edits": list_of(reference_to("Edit")), "next": or_null(COUNT)}),
    "Index": _INDEX,
    "Config": {"type": "object"},
    "Session": object_of({"permission": {"enum": ["read", "teach"]}}),
    "OpenAPI": {"type": "object"},
}
