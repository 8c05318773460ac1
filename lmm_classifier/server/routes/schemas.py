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
_RATE = {"type": "number", "minimum": 0, "maximum": 1}
_RATES = _list(_RATE)
_OUTLOOK = _object(
    {
        "target_precision": _RATE,
        "confidence_level": _RATE,
        "keep_known": _RATE,
        "accepted": {**_or_null(_RATE), "description": "Fraction of images of known labels that get a label at once"},
        "ambiguous": {**_or_null(_RATE), "description": "Fraction whose labels compete"},
        "unknown": {**_RATE, "description": "Fraction that is called unknown"},
        "confidence_threshold": _or_null(_RATE),
        "familiarity_threshold": _or_null(_NUMBER),
        "refusal": {**_or_null(_TEXT), "description": "Why the precision cannot be guaranteed"},
        "examples_needed": _or_null(_COUNT),
    }
)
_CHOICES = _object(
    {
        "confidence_level": _RATE,
        "target_precision": _RATES,
        "keep_known": _RATES,
        "refusals": {**_list(_or_null(_TEXT)), "description": "Of each target precision"},
        "unknown": {**_RATES, "description": "Fraction called unknown, of each `keep_known`"},
        "accepted": {
            **_list(_list(_or_null(_RATE))),
            "description": "Fraction accepted, of each target precision and each `keep_known`",
        },
        "ambiguous": {
            **_list(_list(_or_null(_RATE))),
            "description": "Fraction whose labels compete, of each target precision and each `keep_known`",
        },
    }
)
_JOB = _object(
    {
        "id": _COUNT,
        "state": {"enum": ["running", "done", "failed", "canceled"]},
        "started": {"type": "string", "format": "date-time"},
        "stage": _or_null(_TEXT),
        "done": _or_null(_COUNT),
        "total": _or_null(_COUNT),
        "error": _or_null(_TEXT),
    }
)
_GUARANTEE = _object(
    {
        "target_precision": _RATE,
        "confidence_level": _RATE,
        "confidence_threshold": _RATE,
        "coverage": _RATE,
        "wrong": {**_RATE, "description": "Fraction of errors among the accepted held-out examples"},
        "is_certified": _YES,
    }
)
_CURVES = _object(
    {
        "reliability": _list(_object({"confidence": _RATE, "accuracy": _RATE, "count": _COUNT})),
        "risk_coverage": _object({"coverage": _RATES, "risk": _RATES}),
        "familiarity": _object({"edges": _list(_NUMBER), "known": _list(_COUNT)}),
        "unknowns": _or_null(_object({"auroc": _RATE, "keep_known": _RATES, "unknown_accepted": _RATES})),
    }
)
_CALIBRATION = _object(
    {
        "state": {"enum": ["current", "stale", "missing"]},
        "notes": _list(_TEXT),
        "date": _or_null(_TEXT),
        "request": {"type": "object", "additionalProperties": _RATE},
        "examples": {**_COUNT, "description": "Examples that were held out"},
        "accuracy": _RATE,
        "warning": {**_or_null(_TEXT), "description": "Why all figures are too optimistic"},
        "thresholds": {"type": "object"},
        "guarantee": _or_null(_GUARANTEE),
        "curves": _CURVES,
        "outlook": _OUTLOOK,
        "choices": _or_null(_CHOICES),
        "job": _or_null(_JOB),
        "index_version": _COUNT,
    }
)
_FINDING = _object(
    {
        "kind": {"enum": ["label", "duplicates", "outlier"]},
        "finding": {**_TEXT, "description": "A digest that names the finding"},
        "examples": _list(_ref("Example")),
        "neighbors": _list(_ref("Neighbor")),
        "suggested": {**_TEXT, "description": "The most probable other label"},
        "label_quality": {**_RATE, "description": "Lower is worse"},
        "probability": {**_RATE, "description": "Of its own label, when the example is held out"},
        "is_likely": _YES,
        "familiarity": _NUMBER,
        "similarity": _NUMBER,
        "compared": {"enum": ["bytes", "pixels", "vectors"]},
    },
    *("neighbors", "suggested", "label_quality", "probability", "is_likely", "familiarity", "similarity", "compared"),
)
_AUDIT = _object(
    {
        "state": {"enum": ["running", "done", "failed", "canceled"]},
        "progress": _or_null(_object({"stage": _TEXT, "done": _COUNT, "total": _or_null(_COUNT)})),
        "error": _or_null(_TEXT),
        "audited_version": {**_or_null(_COUNT), "description": "The version of the index that was audited last"},
        "index_version": _COUNT,
        "counts": _object({"label": _COUNT, "duplicates": _COUNT, "outlier": _COUNT}),
        "accuracy": {**_or_null(_RATE), "description": "Held-out examples that are predicted as their label"},
        "wrong_labels_expected": _or_null(_COUNT),
        "findings": _list(_ref("Finding")),
        "next": _or_null(_TEXT),
    }
)
SCHEMAS: dict[str, Any] = {
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
    "Finding": _FINDING,
    "Audit": _AUDIT,
    "Index": _INDEX,
    "Calibration": _CALIBRATION,
    "CalibrationStarted": _object({"job": _JOB}),
    "Config": {"type": "object"},
    "Session": _object({"permission": {"enum": ["read", "teach"]}}),
    "OpenAPI": {"type": "object"},
}
