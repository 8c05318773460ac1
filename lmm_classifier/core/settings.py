"""Base of every section of the configuration: strict types, no unknown keys, errors that name the key's path."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.paths import expand_home
from lmm_classifier.core.redaction import redact

MAX_CANDIDATES = 26  # options are single letters

PathField = Annotated[Path, Field(strict=False), AfterValidator(expand_home)]
PathsField = Annotated[list[PathField], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
UnitInterval = Annotated[float, Field(ge=0, le=1)]
_SWITCHES = {"yes", "no", "on", "off", "y", "n"}  # booleans of YAML 1.1
_NO_SECTION = {"model_type", "model_attributes_type"}  # faults of a value that should be a section
_OFF = {"none", "off", "no", "false", "null"}  # words for what is not wanted


_ONE, _SEVERAL = "one section", "several sections"  # tags, which no message shows

Section = TypeVar("Section", bound="Settings")
OneOrSeveral = Annotated[
    Annotated[Section, Tag(_ONE)] | Annotated[list[Section], Field(min_length=1), Tag(_SEVERAL)],
    Discriminator(lambda value: _SEVERAL if isinstance(value, list) else _ONE),
]


def section_type(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a setting holds, or holds a list of; None where it is a value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := section_type(part)) is not None), None)


class Settings(BaseModel):
    """A section with strict types and without unknown keys; assignments are checked too."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", strict=True, validate_assignment=True, protected_namespaces=()
    )

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in type(self).model_fields:
            raise ConfigError(unknown_key(type(self), (), name))
        former = self.__dict__.get(name)
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            self.__dict__[name] = former  # pydantic leaves the new value where a validator of the section refused it
            raise ConfigError(format_validation_error(type(self), error)) from None

    def start_paths_at(self, folder: Path) -> None:
        """Let the relative paths that were set start at `folder`; those that are defaults stay as they are."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Settings):
                value.start_paths_at(folder)
            elif name not in self.model_fields_set:
                continue
            elif isinstance(value, Path):
                setattr(self, name, folder / value)
            elif isinstance(value, list) and all(isinstance(item, Path) for item in value):
                setattr(self, name, [folder / item for item in value])
            elif isinstance(value, dict) and value and all(isinstance(item, Path) for item in value.values()):
                setattr(self, name, {key: folder / item for key, item in value.items()})
            elif isinstance(value, list):
                for item in value:
                    if isinstance(item, Settings):
                        item.start_paths_at(folder)


def format_validation_error(section: type[BaseModel], error: ValidationError) -> str:
    """Return each fault in one line: the key's path, the expected value, the given value."""
    return "; ".join(
        _format_fault(section, tuple(step for step in fault["loc"] if step not in (_ONE, _SEVERAL)), fault)
        for fault in error.errors(include_url=False)
    )


def _format_fault(section: type[BaseModel], path: tuple[int | str, ...], fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return unknown_key(section, path[:-1], str(path[-1]))
    key = ".".join(map(str, path)) or "configuration"
    value = fault["input"]
    message = fault["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    if fault["type"] in _NO_SECTION:
        message = f"expected keys such as {', '.join(list(_section_at(section, path).model_fields)[:3])}"
    elif fault["type"] == "too_short":
        message = f"expected {fault['ctx']['min_length']} or more"
    if fault["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key}: {message}" + (
        "" if holds_secrets(key) else f", got {redact(repr(value))}{_hint(section, path, fault)}"
    )


def _hint(section: type[BaseModel], path: tuple[int | str, ...], fault: Any) -> str:
    """Return what to write instead, where the fault shows what was meant."""
    value = str(fault["input"]).lower()
    if fault["type"] == "bool_type" and value in _SWITCHES:
        return " (write true or false)"
    is_off = fault["type"] == "literal_error" and value in _OFF
    if is_off and "enabled" in _section_at(section, path[:-1]).model_fields:
        return " (to switch it off, set enabled: false instead)"
    if fault["type"] in _NO_SECTION and (key := _key_of(_section_at(section, path), fault["input"])):
        return f" (write {key}: {value})"
    return ""


def _key_of(section: type[BaseModel], word: Any) -> str | None:
    """Return the first key of a section that has `word` among its words."""
    fields = section.model_fields.items()
    return next((name for name, field in fields if isinstance(word, str) and word in _words(field.annotation)), None)


def _words(annotation: Any) -> set[str]:
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return {part for part in parts if isinstance(part, str)}
    return {word for part in parts for word in _words(part)}


def holds_secrets(key: str) -> bool:
    """Return whether the values of a setting are never shown."""
    return "extra_headers" in key


def unknown_key(section: type[BaseModel], path: tuple[int | str, ...], key: str) -> str:
    """Return a message with the key's path and the most similar key of its section, or the section that has the key."""
    inner = _section_at(section, path)
    full = ".".join([*map(str, path), key])
    if similar := difflib.get_close_matches(key, inner.model_fields, n=1):
        return f"unknown key {full!r}: did you mean {'.'.join([*map(str, path), similar[0]])!r}?"
    below = _section_with(inner, key, "".join(f"{step}." for step in path))
    if home := below or _section_with(section, key):
        return f"unknown key {full!r}: did you mean {home!r}?"
    return f"unknown key {full!r}: expected one of {', '.join(inner.model_fields)}"


def _section_at(section: type[BaseModel], path: tuple[int | str, ...]) -> Any:
    """Return the section at these keys; a number is the place of one of several."""
    inner: Any = section
    for step in path:
        inner = inner if str(step).isdecimal() else section_type(inner.model_fields[str(step)].annotation)
    return inner


def _section_with(section: type[BaseModel], key: str, path: str = "") -> str | None:
    """Return the full path of `key` in the first section, at any depth, that has it."""
    for name, field in section.model_fields.items():
        inner = section_type(field.annotation)
        if inner is None:
            continue
        if key in inner.model_fields:
            return f"{path}{name}.{key}"
        if home := _section_with(inner, key, f"{path}{name}."):
            return home
    return None
