"""The shapes of the map and of vectors, as JSON Schema."""

from __future__ import annotations

from typing import Any

from lmm_classifier.server.schemas.parts import COUNT, HASH, TEXT, YES, list_of, object_of, or_null

_PERCENT = {"type": "integer", "minimum": 0, "maximum": 100}
_MAP = object_of(
    {
        "map_version": {**COUNT, "description": "The version of the index that the map was made of"},
        "index_version": COUNT,
        "is_current": {**YES, "description": "Whether the map was made of the version that answers"},
        "is_sample": {**YES, "description": "Whether the map holds only some of the examples"},
        "labels": list_of(TEXT),
        "ids": list_of(HASH),
        "paths": list_of(TEXT),
        "doubts": {**list_of(_PERCENT), "description": "How many of the ten nearest had another label, in percent"},
    }
)
_STATE = object_of(
    {
        "state": {"enum": ["running", "done", "failed", "canceled"]},
        "progress": or_null(object_of({"stage": TEXT, "done": COUNT, "total": or_null(COUNT)})),
    }
)
MAP_SCHEMAS: dict[str, Any] = {"Map": _MAP, "MapState": _STATE}
