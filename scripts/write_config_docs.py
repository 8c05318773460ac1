"""Writes config/*.yaml and docs/configuration.md from the configuration model, so that they cannot disagree with it."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from lmm_classifier import config
from lmm_classifier.config import OFFLINE, PipelineConfig
from lmm_classifier.data import config as data_config
from lmm_classifier.embeddings import config as encoder_config
from lmm_classifier.neighbors import config as retrieval_config
from lmm_classifier.rerank import config as rerank_config

MODULES = (config, data_config, encoder_config, retrieval_config, rerank_config)
ROOT = Path(__file__).parent.parent


def descriptions() -> dict[str, dict[str, str]]:
    """Class name -> key -> the text under the key in the source."""
    found: dict[str, dict[str, str]] = {}
    for node in (node for module in MODULES for node in ast.parse(inspect.getsource(module)).body):
        if isinstance(node, ast.ClassDef):
            keys = found.setdefault(node.name, {})
            for field, text in zip(node.body, node.body[1:]):
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                    keys[ast.unparse(field.target)] = " ".join(ast.literal_eval(text.value).split())
    return found


def keys(section: type[BaseModel], path: str = "") -> Iterator[tuple[str, str, Any]]:
    """(path, description, default) of every key, in order; sections come as (path, docstring, None)."""
    texts = descriptions()[section.__name__]
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield f"{path}{name}", (kind.__doc__ or "").strip(), kind
            yield from keys(kind, f"{path}{name}.")
        else:
            default = field.get_default(call_default_factory=True)
            yield f"{path}{name}", texts[name], str(default) if isinstance(default, Path) else default


def scalar(value: Any) -> str:
    """The value as YAML on one line."""
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True).removesuffix("\n...\n").strip()
    )


def block(value: Any, indent: str) -> str:
    """The value as YAML, text of several lines as they are."""
    if isinstance(value, str) and "\n" in value:
        return "\n".join(["|-", *(f"{indent}  {line}" for line in value.splitlines())])
    return scalar(value)


def as_yaml(head: str, changed: dict[str, Any] | None = None) -> str:
    """All keys with their values, or only the changed ones, each under its description."""
    lines = [*(f"# {line}" for line in head.splitlines()), ""]
    for path, text, default in keys(PipelineConfig):
        *section, name = path.split(".")
        indent = "  " * len(section)
        is_section = isinstance(default, type)
        if changed is not None:
            place = changed
            for step in section:
                place = place.get(step, {})
            if name not in place:
                continue
        value = default if changed is None or is_section else place[name]
        if is_section:
            lines += ["" if lines[-1] else None, f"# {text}", f"{name}:"]
        else:
            lines += [f"{indent}# {text}", f"{indent}{name}: {block(value, indent)}"]
    return "\n".join(line for line in lines if line is not None) + "\n"


def as_markdown() -> str:
    """One table row per key."""
    lines = [
        "# Configuration",
        "",
        "Made by `scripts/write_config_docs.py` from the configuration model; a test keeps it current.",
        "",
        "A setting comes from its command line flag, else from `--set KEY=VALUE`, else from the `--config` file, else",
        "from the default below. Unknown keys and wrong types are refused by name. Relative paths are relative to the",
        "folder the program is started in. `config/default.yaml` holds every default; `config/offline.yaml` needs no",
        "download.",
        "",
        "| key | default | meaning |",
        "|---|---|---|",
    ]
    for path, text, default in keys(PipelineConfig):
        value = "" if isinstance(default, type) else f"`{scalar(default)}`"
        name = f"**`{path}`**" if isinstance(default, type) else f"`{path}`"
        lines.append(f"| {name} | {value} | {text} |".replace("\\n", "\\\\n"))
    return "\n".join(lines) + "\n"


def files() -> dict[Path, str]:
    """Every file that is made here, with its content."""
    return {
        ROOT / "config/default.yaml": as_yaml("The defaults: SigLIP finds neighbours, Qwen2-VL takes the second look."),
        ROOT / "config/offline.yaml": as_yaml(
            "Needs no download: the weight-free descriptor finds neighbours, five views take the second look.\n"
            "Keys that are absent have the values of default.yaml.",
            OFFLINE,
        ),
        ROOT / "docs/configuration.md": as_markdown(),
    }


def main() -> int:
    """Write the files; with `--check` only say which are stale."""
    stale = [path for path, text in files().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" not in sys.argv:
        for path in stale:
            path.write_text(files()[path], encoding="utf-8")
    for path in stale:
        print(("stale: " if "--check" in sys.argv else "wrote ") + str(path.relative_to(ROOT)))
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
