"""Writes settings as YAML for people: each key under its description, those that are not set as comments."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

_COLUMNS = 100  # of a comment
_SCHEMA = "config.schema.json"
_NUMBER = re.compile(r"[-+]?\.?[0-9]")


def schema_file() -> Path:
    """Return the JSON schema of the settings, which comes with the package."""
    return Path(str(files("lmm_classifier") / _SCHEMA))


def read_schema() -> dict[str, Any]:
    """Return the schema as an object."""
    schema: dict[str, Any] = json.loads(schema_file().read_text(encoding="utf-8"))
    return schema


def schema_line(address: str) -> str:
    """Return the comment by which editors with a YAML language server find the schema."""
    return f"# yaml-language-server: $schema={address}"


def commented_settings(
    schema: Mapping[str, Any], values: Mapping[str, Any], head: Sequence[str], show_unset: bool
) -> str:
    """Return a file of settings.

    Args:
        schema: of the settings, with a description for each key.
        values: what is set, by key; a section is a mapping, several encoders are a list of mappings.
        head: comments at the top.
        show_unset: write the other keys too, each as a comment with its default.
    """
    lines = [*head, "", *_section(schema, schema, values, "", show_unset)]
    return "\n".join(line for line, former in zip(lines, ["x", *lines]) if line or former) + "\n"


def _section(
    schema: Mapping[str, Any], section: Mapping[str, Any], values: Mapping[str, Any], indent: str, show_unset: bool
) -> Iterator[str]:
    """Yield the lines of the keys of one section, in the order of the schema."""
    for name, node in section["properties"].items():
        inner = _inner(schema, node)
        is_set = name in values
        if not (is_set or show_unset):
            continue
        if inner is not None:
            yield from ([""] if not indent or show_unset else [])
            yield from comment(node["description"], indent)
            yield f"{indent}{name}:"
            if isinstance(values.get(name), list):
                yield from _several(values[name], inner, indent)
            else:
                yield from _section(schema, inner, values.get(name, {}), f"{indent}  ", show_unset)
            continue
        yield from comment(node["description"], indent)
        value = as_yaml(values[name] if is_set else node.get("default"), indent)
        mark = "" if is_set else "# "
        yield from (f"{indent}{mark}{line.removeprefix(indent)}" for line in f"{name}: {value}".splitlines())


def _several(values: Sequence[Mapping[str, Any]], inner: Mapping[str, Any], indent: str) -> Iterator[str]:
    """Yield a list of sections; a key is described where it occurs first."""
    described: set[str] = set()
    for value in values:
        dash = "- "
        for name in (name for name in inner["properties"] if name in value):
            if name not in described:
                yield from comment(inner["properties"][name]["description"], f"{indent}  ")
                described.add(name)
            yield f"{indent}  {dash}{name}: {as_yaml(value[name], f'{indent}    ')}"
            dash = "  "


def _inner(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the section that a key holds, None for a value."""
    for part in node.get("anyOf", ()):
        if "$ref" in part:
            section: Mapping[str, Any] = schema["$defs"][part["$ref"].rpartition("/")[2]]
            return section
    return None


def comment(text: str, indent: str) -> list[str]:
    """Return a text as lines of a YAML comment."""
    return [f"{indent}# {line}" for line in textwrap.wrap(text, _COLUMNS - len(indent), break_on_hyphens=False)]


def as_yaml(value: Any, indent: str = "") -> str:
    """Return a value as YAML on one line; a text of several plain lines keeps them, below `indent`."""
    if isinstance(value, str) and "\n" in value and _is_plain_block(value):
        return "\n".join(["|-", *(f"{indent}  {line}" for line in value.split("\n"))])
    text: str = yaml.dump(value, Dumper=_OneLineDumper, default_flow_style=True, width=10**9, allow_unicode=True)
    return text.removesuffix("\n...\n").strip()


def _is_plain_block(text: str) -> bool:
    """Return whether a block of YAML gives the text back as it is."""
    lines = text.split("\n")
    return all(line.strip() == line and line and line.isprintable() for line in lines)


class _OneLineDumper(yaml.SafeDumper):
    """Quotes text with line breaks, so that it stays on one line, and text that YAML 1.2 reads as a number."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Return the node of a text."""
        has_break = len(text.splitlines()) > 1 or text.splitlines() != [text]
        style = '"' if (text and has_break) or _NUMBER.match(text) else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_OneLineDumper.add_representer(str, _OneLineDumper.represent_text)
