"""Find by its key what a setting may be, so that a file of settings is read as its author means it."""

from __future__ import annotations

import types
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.settings import section_type
from lmm_classifier.core.yaml_loader import NULLS


def is_text(section: type[BaseModel], keys: Sequence[str], word: str) -> bool:
    """Return whether an unquoted `word` at `keys` below `section` can only be meant as text.

    That is so where every scalar that the setting accepts is text. Where it also accepts null, `null` is not text.
    """
    kinds: set[Any] = {section}
    for key in keys:
        kinds = {inner for kind in kinds for inner in _below(kind, key)}
    scalars = {kind for kind in kinds if not _has_parts(kind)}
    if type(None) in scalars and word in NULLS:
        return False
    return bool(scalars - {type(None)}) and scalars <= {str, Path, type(None)}


def with_sections(section: type[BaseModel], values: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Return values in which a key such as `rerank.cache` is the key `cache` of the section `rerank`.

    A section without a key is left out.

    Raises:
        ConfigError: a value is given in both ways.
    """
    result: dict[str, Any] = {}
    for key, value in values.items():
        name, _, rest = key.partition(".")
        inner = _section(section, name)
        if inner is not None and not rest and value is None:
            continue  # a section whose keys are all comments
        if inner is not None and not rest and isinstance(value, list):
            value = [  # noqa: PLW2901 - the same value, with sections
                with_sections(inner, item, f"{path}{name}.{place}.") if isinstance(item, dict) else item
                for place, item in enumerate(value)
            ]
        if inner is None or not (rest or isinstance(value, dict)):
            _put(result, key, value, path)
            continue
        below = with_sections(inner, {rest: value} if rest else value, f"{path}{name}.")
        former = result.setdefault(name, {})
        for inner_key, inner_value in below.items():
            _put(former, inner_key, inner_value, f"{path}{name}.")
    return result


def _put(values: Any, key: str, value: Any, path: str) -> None:
    """Add a value; sections of one name are joined."""
    if not isinstance(values, dict):
        raise ConfigError(f"{path.rstrip('.')} is given twice")
    if isinstance(value, dict) and isinstance(values.get(key), dict):
        for inner_key, inner_value in value.items():
            _put(values[key], inner_key, inner_value, f"{path}{key}.")
    elif key in values:
        raise ConfigError(f"{path}{key} is given twice")
    else:
        values[key] = value


def _section(section: type[BaseModel], name: str) -> type[BaseModel] | None:
    field = section.model_fields.get(name)
    return section_type(field.annotation) if field is not None else None


def _below(kind: Any, key: str) -> set[Any]:
    """Return the types of the values at `key` of a value of this type; "*" is a place in a list."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _kinds(kind.model_fields[key].annotation) if key in kind.model_fields else set()
    arguments = get_args(kind)
    if get_origin(kind) is dict:
        return _kinds(arguments[1])
    return _kinds(arguments[0]) if arguments and key == "*" else set()


def _kinds(annotation: Any) -> set[Any]:
    """Return the types that a value may have; a literal counts as the types of its words."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return {kind for part in get_args(annotation) for kind in _kinds(part)}
    if origin is Literal:
        return {type(word) for word in get_args(annotation)}
    return {annotation}


def _has_parts(kind: Any) -> bool:
    return get_origin(kind) is not None or (isinstance(kind, type) and issubclass(kind, BaseModel))
