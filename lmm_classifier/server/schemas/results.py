"""The shapes of results, as JSON Schema."""

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

_NEIGHBOR = object_of({"path": TEXT, "label": TEXT, "similarity": NUMBER, "id": or_null(HASH)})
_CANDIDATE = object_of(
    {
        "label": TEXT,
        "score": NUMBER,
        "rerank_score": or_null(NUMBER),
        "encoder": TEXT,
        "neighbors": list_of(reference_to("Neighbor")),
    },
    "encoder",
    "neighbors",
)
RESULT = object_of(
    {
        "id": or_null(HASH),
        "path": {"type": "null", "description": "Always null: the image has no file on the server"},
        "label": TEXT,
        "score": NUMBER,
        "is_unknown": YES,
        "action": {"enum": ["accept", "rerank", "reject"]},
        "reason": {
            "enum": [
                *("confident", "rolled_up", "ambiguous", "novel", "forced", "reranked", "reranker_failed", "unreadable")
            ],
        },
        "why": TEXT,
        "used_reranker": YES,
        "disagreement": or_null(NUMBER),
        "similarity": or_null(NUMBER),
        "familiarity": or_null(NUMBER),
        "error": or_null(TEXT),
        "content_hash": or_null(HASH),
        "encoders": list_of(TEXT),
        "level": {**or_null(COUNT), "description": "0: a label; 1, 2, ...: a coarse label; null: no label"},
        "label_path": {**list_of(TEXT), "description": "From the root of the hierarchy, if there is one, to the label"},
        "prediction_set": or_null(list_of(TEXT)),
        "candidates": list_of(reference_to("Candidate")),
        "index_version": COUNT,
    },
    *("encoders", "level", "label_path"),
)
RESULT_SCHEMAS: dict[str, Any] = {
    "Neighbor": _NEIGHBOR,
    "Candidate": _CANDIDATE,
    "Result": RESULT,
    "Results": object_of({"results": list_of(reference_to("Result"))}),
}
