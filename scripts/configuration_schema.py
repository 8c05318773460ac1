"""Makes the JSON schema of the settings, by which an editor completes and checks a file of settings.

The schema comes from the model, and each description is the text that stands under its key in the code. What YAML files
may say in more than one way, the schema accepts too: keys such as `rerank.cache`, and numbers where text is meant.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, BeforeValidator

from lmm_classifier import config
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.settings import section_type
from lmm_classifier.data import config as data_config
from lmm_classifier.embeddings import config as encoder_config
from lmm_classifier.neighbors import config as retrieval_config
from lmm_classifier.rerank import config as rerank_config
from lmm_classifier.server import config as server_config

MODULES = (config, data_config, encoder_config, retrieval_config, rerank_config, server_config)
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def descriptions() -> dict[tuple[str, str], dict[str, str]]:
    """Return for each class of settings, by module and name, the text that stands under each of its keys."""
    texts: dict[tuple[str, str], dict[str, str]] = {}
    for module in MODULES:
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef):
                keys = texts.setdefault((module.__name__, node.name), {})
                for field, text in zip(node.body, node.body[1:]):
                    if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                        keys[ast.unparse(field.target)] = " ".join(ast.literal_eval(text.value).split())
    return texts


def texts_of(section: type[BaseModel]) -> dict[str, str]:
    """Return the text of each key of a section."""
    return descriptions()[section.__module__, section.__name__]


def configuration_schema() -> dict[str, Any]:
    """Return the schema of a file of settings; `PipelineConfig` has the last word on what is accepted."""
    generated = PipelineConfig.model_json_schema()
    definitions = generated.pop("$defs")
    named = _definitions(PipelineConfig, definitions)
    for section in sections(PipelineConfig):
        _describe(section, generated if section is PipelineConfig else definitions[named[section]], named)
    return {
        "$schema": _DIALECT,
        "title": "Settings of lmm_classifier",
        **{key: value for key, value in generated.items() if key not in ("title", "description")},
        "$defs": {name: definitions[name] for name in sorted(definitions)},
    }


def schema_text() -> str:
    """Return the schema as the file in the package has it."""
    return json.dumps(configuration_schema(), indent=1, ensure_ascii=False) + "\n"


def sections(section: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield a section and all below it."""
    yield section
    for field in section.model_fields.values():
        if (inner := section_type(field.annotation)) is not None:
            yield from sections(inner)


def _definitions(root: type[BaseModel], definitions: dict[str, Any]) -> dict[type[BaseModel], str]:
    """Return the name that each section has among the definitions; two of one name have their modules in it."""
    names = {}
    for section in sections(root):
        full = f"{section.__module__}.{section.__qualname__}".replace(".", "__")
        names[section] = full if full in definitions else section.__name__
    return names


def _describe(section: type[BaseModel], schema: dict[str, Any], named: dict[type[BaseModel], str]) -> None:
    texts = texts_of(section)
    schema.pop("title", None)
    inner = [name for name, field in section.model_fields.items() if section_type(field.annotation) is not None]
    for name, field in section.model_fields.items():
        node = schema["properties"][name]
        node.pop("title", None)
        kind = section_type(field.annotation)
        if kind is None:
            node = _with_words(node) | _default_of(section, name)
            if node.get("type") == "array" and any(isinstance(mark, BeforeValidator) for mark in field.metadata):
                default = {"default": node.pop("default")}
                node = {"anyOf": [node["items"], node], **default}  # one path stands for a list of one
            schema["properties"][name] = {"description": texts[name], **node}
        else:
            one = {"$ref": f"#/$defs/{named[kind]}"}
            several = [item for item in node.get("oneOf", []) if item.get("type") == "array"]
            meaning = texts.get(name) or inspect.getdoc(kind) or ""
            # a section whose keys are all comments is null
            schema["properties"][name] = {"description": meaning, "anyOf": [one, *several, {"type": "null"}]}
    if inner:
        schema["patternProperties"] = {rf"^({'|'.join(map(re.escape, inner))})\.": {}}


def _default_of(section: type[BaseModel], name: str) -> dict[str, Any]:
    """Return the default of a key as JSON has it; a section whose keys need no value can be made without any."""
    return {"default": section().model_dump(mode="json")[name]}


def _with_words(node: Any) -> Any:
    """Return the schema of a value in which any word is text, since `010` and `no` are labels where text is meant."""
    if isinstance(node, list):
        return [_with_words(item) for item in node]
    if not isinstance(node, dict):
        return node
    changed = {key: value if key in ("default", "enum") else _with_words(value) for key, value in node.items()}
    if node.get("type") == "string" and not {"enum", "const"} & node.keys():
        changed["type"] = ["string", "number", "boolean"]
    return changed
