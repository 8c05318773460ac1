"""The shapes of audits, as JSON Schema."""

from __future__ import annotations

from typing import Any

from lmm_classifier.server.schemas.parts import COUNT, NUMBER, TEXT, YES, list_of, object_of, or_null, reference_to

_RATE = {"type": "number", "minimum": 0, "maximum": 1}
_FINDING = object_of(
    {
        "kind": {"enum": ["label", "duplicates", "outlier"]},
        "finding": {**TEXT, "description": "A digest that names the finding"},
        "examples": list_of(reference_to("Example")),
        "neighbors": list_of(reference_to("Neighbor")),
        "suggested": {**TEXT, "description": "The most probable other label"},
        "label_quality": {**_RATE, "description": "Lower is worse"},
        "probability": {**_RATE, "description": "Of its own label, when the example is held out"},
        "is_likely": YES,
        "familiarity": NUMBER,
        "similarity": NUMBER,
        "compared": {"enum": ["bytes", "pixels", "vectors"]},
    },
    *("neighbors", "suggested", "label_quality", "probability", "is_likely", "familiarity", "similarity", "compared"),
)
_AUDIT = object_of(
    {
        "state": {"enum": ["running", "done", "failed", "canceled"]},
        "progress": or_null(object_of({"stage": TEXT, "done": COUNT, "total": or_null(COUNT)})),
        "error": or_null(TEXT),
        "audited_version": {**or_null(COUNT), "description": "The version of the index that was audited last"},
        "index_version": COUNT,
        "missing": {
            **list_of({"enum": ["label", "duplicates", "outlier"]}),
            "description": "Kinds that were not searched to the end in that version; it may still go on",
        },
        "counts": object_of({"label": COUNT, "duplicates": COUNT, "outlier": COUNT}),
        "accuracy": {**or_null(_RATE), "description": "Held-out examples that are predicted as their label"},
        "wrong_labels_expected": or_null(COUNT),
        "findings": list_of(reference_to("Finding")),
        "next": or_null(TEXT),
    }
)
AUDIT_SCHEMAS: dict[str, Any] = {"Finding": _FINDING, "Audit": _AUDIT}
