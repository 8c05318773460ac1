"""What every section of the configuration does: strict types, no unknown keys, faults explained by the key's path."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lmm_classifier.core.errors import ConfigError

MAX_CANDIDATES = 26  # options are single letters

PathField = Annotated[Path, Field(strict=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Strict types, no unknown keys, checked on assignment too."""

    model_config = ConfigDict(extra="forbid", strict=True, validate_assignment=True, protected_namespaces=())

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in type(self).model_fields:
            raise ConfigError(unknown_key(type(self), (), name))
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            raise ConfigError(explain(type(self), error)) from None


def explain(section: type[BaseModel], error: ValidationError) -> str:
    """Say in one line a fault: the key's path, what was expected, what came."""
    return "; ".join(_explain_one(section, fault["loc"], fault) for fault in error.errors(include_url=False))


def _explain_one(section: type[BaseModel], path: tuple[int | str, ...], fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return unknown_key(section, path[:-1], str(path[-1]))
    key = ".".join(map(str, path)) or "configuration"
    came = fault["input"]
    said = fault["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    if fault["type"] == "value_error":
        return f"{key}: {said}"
    hint = ""
    if isinstance(came, str) and re.fullmatch(r"[-+]?[0-9.]+e[-+]?[0-9]+", came, re.IGNORECASE):
        hint = f" (YAML reads {came} as text: write {float(came)!r} or use a decimal point)"
    return f"{key}: {said}, got {came!r}{hint}"


def unknown_key(section: type[BaseModel], path: tuple[int | str, ...], key: str) -> str:
    """Name the key's path and the nearest key of that section, or the section that does have the key."""
    here: Any = section
    for step in path:
        here = here.model_fields[str(step)].annotation
    full = ".".join([*map(str, path), key])
    if near := difflib.get_close_matches(key, here.model_fields, n=1):
        return f"unknown key {full!r}: did you mean {'.'.join([*map(str, path), near[0]])!r}?"
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and key in getattr(field.annotation, "model_fields", {}):
            return f"unknown key {full!r}: did you mean {f'{name}.{key}'!r}?"
    return f"unknown key {full!r}: expected one of {', '.join(here.model_fields)}"
