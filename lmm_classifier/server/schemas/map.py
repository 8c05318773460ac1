"""The shapes of the map and of vectors, as JSON Schema."""

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
        "uncertainty": {
            **list_of(_PERCENT),
            "description": "How many of the ten nearest had another label, in percent",
        },
    }
)
_PLACED = object_of(
    {
        "item": COUNT,
        "id": {**HASH, "description": "Of the content of the image"},
        "name": TEXT,
        "label": {**TEXT, "description": "What it looks like"},
        "x": NUMBER,
        "y": NUMBER,
    }
)
_ITEMS = object_of(
    {
        "run": COUNT,
        "map_version": COUNT,
        "open": {**COUNT, "description": "All open items of the run"},
        "is_sample": {**YES, "description": "Whether only some of the open items were placed"},
        "without_place": {**COUNT, "description": "Those of them that have no neighbor on the map"},
        "items": list_of(_PLACED),
    }
)
_STATE = object_of(
    {
        "state": {"enum": ["running", "done", "failed", "canceled"]},
        "progress": or_null(object_of({"stage": TEXT, "done": COUNT, "total": or_null(COUNT)})),
    }
)
_VECTORS = object_of(
    {
        "id": or_null(HASH),
        "vectors": list_of(list_of(NUMBER)),
        "encoders": {**list_of(TEXT), "description": "Which encoder made each of the vectors"},
        "error": {**or_null(TEXT), "description": "Why an image of a form has no vectors"},
    }
)
MAP_SCHEMAS: dict[str, Any] = {"Map": _MAP, "MapState": _STATE, "ItemsOnMap": _ITEMS}
EMBED_SCHEMAS: dict[str, Any] = {
    "Vectors": _VECTORS,
    "VectorsOfImages": object_of({"results": list_of(reference_to("Vectors"))}),
}
