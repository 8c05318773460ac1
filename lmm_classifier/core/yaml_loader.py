"""Read YAML that people write: the core schema of YAML 1.2, without tags, aliases and repeated keys.

PyYAML alone follows YAML 1.1, which reads `off` and `no` as false, `12:30` as 750, `010` as 8 and `1e-3` as text. Here
only `true`, `false`, `null`, `~` and numbers are more than text. Where a setting can only be text, such as a label, a
value counts as it is written: `labels: [no, 010, 2024-01-01, true]` are four labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml

from lmm_classifier.core.errors import ConfigError

Keys = tuple[str, ...]  # the way to a value; "*" stands for a place in a list
IsText = Callable[[Keys, str], bool]  # whether a word at these keys is text as it is written

NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_OCTAL_OR_HEXADECIMAL = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class _PlainLoader(yaml.SafeLoader):
    """Composes nodes without resolving them, and refuses aliases: with them a small file could grow without bound."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise _fault("aliases (*name) are not accepted", self.peek_event())  # type: ignore[no-untyped-call]
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
            raise _fault(f"tags are not accepted, but {tag} is one", event)
        return super().compose_node(parent, index)


def load_yaml(text: str, source: str, is_text: IsText = lambda _keys, _word: False) -> dict[str, Any]:
    """Parse `text` into nested plain values.

    Args:
        text: lines `key: value`.
        source: names the text in errors.
        is_text: whether an unquoted word at these keys is text as it is written.

    Raises:
        ConfigError: the text is not YAML, or no mapping; the message has the line and the fault.
    """
    values = load_yaml_value(text, source, is_text)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: expected `key: value` lines, got {type(values).__name__}")
    return values


def load_yaml_value(text: str, source: str, is_text: IsText = lambda _keys, _word: False) -> Any:
    """Parse `text` into one value of any kind; arguments and errors are those of `load_yaml`."""
    try:
        loader = _PlainLoader(text)
        try:
            node = loader.get_single_node()
            return None if node is None else _value(node, (), is_text)
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise ConfigError(f"{source} is not plain YAML: {_one_line(error)}") from None


def _value(node: yaml.Node, keys: Keys, is_text: IsText) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*keys, "*"), is_text) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, keys, is_text)
    written: str = node.value
    quoted = getattr(node, "style", None) is not None
    if quoted or (written and is_text(keys, written)):
        return written
    return _resolved(written)


def _mapping(node: yaml.MappingNode, keys: Keys, is_text: IsText) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = _value(key_node, ("*",), lambda _keys, _word: False)
        if not isinstance(key, str):
            raise _fault(f"keys must be text, got {key!r}; put it in quotes", key_node)
        if key in values:
            raise _fault(f"the key {key!r} appears twice", key_node)
        values[key] = _value(value_node, (*keys, *key.split(".")), is_text)
    return values


def _resolved(written: str) -> Any:
    """Return the value of an unquoted word by the core schema of YAML 1.2."""
    if written in NULLS:
        return None
    if written in _BOOLEANS:
        return _BOOLEANS[written]
    if _DECIMAL.fullmatch(written):
        return int(written)
    if _OCTAL_OR_HEXADECIMAL.fullmatch(written):
        return int(written, 0)
    if _FLOAT.fullmatch(written):
        return float(written)
    if _NOT_FINITE.fullmatch(written):
        return float(written.lower().replace(".", ""))
    return written


def _fault(problem: str, place: Any) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(None, None, problem, place.start_mark)


def _one_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{where}{problem}".replace("\n", " ")
