"""Base of every section of the configuration: strict types, no unknown keys, errors that name the key's path."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.redaction import redact

MAX_CANDIDATES = 26  # options are single letters

PathField = Annotated[Path, Field(strict=False)]
UnitInterval = Annotated[float, Field(ge=0, le=1)]
OffWord = BeforeValidator(lambda value: "off" if value is False else value)  # YAML reads a bare `off` as false


class Settings(BaseModel):
    """A section with strict types and without unknown keys; assignments are checked too."""

    model_config = ConfigDict(extra="forbid", strict=True, validate_assignment=True, protected_namespaces=())

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in type(self).model_fields:
            raise ConfigError(unknown_key(type(self), (), name))
        former = self.__dict__.get(name)
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            self.__dict__[name] = former  # pydantic leaves the new value where a validator of the section refused it
            raise ConfigError(format_validation_error(type(self), error)) from None


def format_validation_error(section: type[BaseModel], error: ValidationError) -> str:
    """Return each fault in one line: the key's path, the expected value, the given value."""
    return "; ".join(_format_fault(section, fault["loc"], fault) for fault in error.errors(include_url=False))


def _format_fault(section: type[BaseModel], path: tuple[int | str, ...], fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return unknown_key(section, path[:-1], str(path[-1]))
    key = ".".join(map(str, path)) or "configuration"
    value = fault["input"]
    message = fault["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    if fault["type"] == "value_error":
        return f"{key}: {message}"
    hint = ""
    if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9.]+e[-+]?[0-9]+", value, re.IGNORECASE):
        hint = f" (YAML reads {value} as text: write {float(value)!r} or use a decimal point)"
    return f"{key}: {message}" + ("" if holds_secrets(key) else f", got {redact(repr(value))}{hint}")


def holds_secrets(key: str) -> bool:
    """Return whether the values of a setting are never shown."""
    return "extra_headers" in key


def unknown_key(section: type[BaseModel], path: tuple[int | str, ...], key: str) -> str:
    """Return a message with the key's path and the most similar key of its section, or the section that has the key."""
    inner: Any = section
    for step in path:
        inner = inner.model_fields[str(step)].annotation
    full = ".".join([*map(str, path), key])
    if similar := difflib.get_close_matches(key, inner.model_fields, n=1):
        return f"unknown key {full!r}: did you mean {'.'.join([*map(str, path), similar[0]])!r}?"
    below = _section_with(inner, key, "".join(f"{step}." for step in path))
    if home := below or _section_with(section, key):
        return f"unknown key {full!r}: did you mean {home!r}?"
    return f"unknown key {full!r}: expected one of {', '.join(inner.model_fields)}"


def _section_with(section: type[BaseModel], key: str, path: str = "") -> str | None:
    """Return the full path of `key` in the first section, at any depth, that has it."""
    for name, field in section.model_fields.items():
        inner = field.annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            continue
        if key in inner.model_fields:
            return f"{path}{name}.{key}"
        if home := _section_with(inner, key, f"{path}{name}."):
            return home
    return None
