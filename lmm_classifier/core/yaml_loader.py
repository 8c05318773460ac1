"""Read YAML that people write: plain values only; no tags, no aliases, no repeated keys."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from lmm_classifier.core.errors import ConfigError


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader without aliases (a small file could grow without bound) and repeated keys (one would be lost)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "aliases (*name) are not accepted", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for (key_node, _), key, position in zip(node.value, keys, range(len(keys))):
            if key in keys[:position]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} appears twice", key_node.start_mark
                )
        return super().construct_mapping(node, deep)


def load_yaml(text: str, source: str) -> dict[str, Any]:
    """Parse `text` into nested plain values; raises ConfigError with the line and the fault."""
    try:
        values = yaml.load(text, Loader=_PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise ConfigError(f"{source} is not plain YAML: {_one_line(error)}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: expected `key: value` lines, got {type(values).__name__}")
    if others := [key for key in values if not isinstance(key, str)]:
        raise ConfigError(f"{source}: keys must be text, got {others[0]!r}; put it in quotes")
    return values


def _one_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{where}{problem}".replace("\n", " ")
