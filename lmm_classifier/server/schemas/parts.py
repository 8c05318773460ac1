"""What the schemas are made of."""

from __future__ import annotations

from typing import Any


def object_of(properties: dict[str, Any], *optional: str, more: bool = False) -> dict[str, Any]:
    """Return the schema of an object with these properties; all are required but the optional ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": more}


def or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a value that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


def reference_to(name: str) -> dict[str, Any]:
    """Return a reference to a schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def list_of(items: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


TEXT, NUMBER, COUNT, YES = {"type": "string"}, {"type": "number"}, {"type": "integer"}, {"type": "boolean"}
HASH = {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 of the content"}
