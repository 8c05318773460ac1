"""Makes the Python reference from the signatures and docstrings of the public names."""

from __future__ import annotations

import ast
import inspect
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import lmm_classifier
from lmm_classifier.core import errors

_STUB = Path(lmm_classifier.__file__).with_suffix(".pyi")
_ESTIMATORS = ("train_free_classifier", "image_encoder")  # modules of `integrations.sklearn`, each with one class
_TITLES = {  # module that a name comes from, as its first parts -> heading; the order is that of the page
    "index.build": "Build and edit",
    "pipeline.classifier": "Classify",
    "batching": "Classify",
    "core.datatypes": "Results",
    "html": "Results",
    "discovery": "Discover",
    "pipeline": "Calibrate",
    "calibration": "Calibrate",
    "evaluation.reports": "Write pages",
    "evaluation": "Evaluate and audit",
    "integrations": "Other programs",
    "index": "Maintain",
    "distributed.capacity": "Plan",
    "embeddings": "Encoders",
    "config": "Configuration and logging",
    "logging_config": "Configuration and logging",
    "core": "Progress and errors",
}
_SECTION = re.compile(r"^(Args|Returns|Raises|Example|Attributes):$")
_ITEM = re.compile(r"^    (\w[\w.]*): (.*)$")

_HEAD = """\
# Python

{note}

Everything here is imported from `lmm_classifier`, but for the estimators of scikit-learn. The examples run as doctests,
in a folder with `images/`, `index/`, `new/` and `test_images/`. Importing the package loads no heavy library.

The protocols for your own encoder, index, voting rule or reranker are in `lmm_classifier/core/protocols.py`.
`lmm_classifier.testing.check_encoder` checks an encoder. [Architecture](../explanation/architecture.md) says what to
touch.
"""


def public_names() -> dict[str, str]:
    """Return every public name with the module that it comes from, by the stub of the package."""
    imports = [node for node in ast.parse(_STUB.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name: node.module or "" for node in imports for alias in node.names}


def python_page(note: str) -> str:
    """Return the page: every public name under its heading."""
    chapters: dict[str, list[str]] = {title: [] for title in _TITLES.values()}
    for name, module in sorted(public_names().items(), key=lambda pair: pair[0].lower()):
        chapters[_title(module)].append(_entry(name, getattr(lmm_classifier, name)))
    parts = [_HEAD.format(note=note).rstrip()]
    for title, entries in chapters.items():
        parts += [f"## {title}", *entries] if entries else []
        if title == "Progress and errors":
            parts.append(_error_tree())
    return "\n\n".join([*parts, *_estimators()]) + "\n"


def _estimators() -> Iterator[str]:
    """Yield the chapter of the estimators, which is read from their source: scikit-learn need not be there."""
    yield "## Estimators of scikit-learn"
    yield (
        "These are imported from `lmm_classifier.integrations.sklearn`, with the extra `sklearn`. "
        "[scikit-learn](../guides/scikit-learn.md) shows how they are used."
    )
    for module in _ESTIMATORS:
        path = _STUB.parent / "integrations/sklearn" / f"{module}.py"
        source = ast.parse(path.read_text(encoding="utf-8"))
        (node,) = (item for item in source.body if isinstance(item, ast.ClassDef))
        yield "\n\n".join([_head_of_class(node.name, node, node.body), *_methods(node.name, node.body)])


def _title(module: str) -> str:
    """Return the heading for the names of a module: that of the longest prefix."""
    prefixes = [prefix for prefix in _TITLES if f"{module}.".startswith(f"{prefix}.")]
    if not prefixes:
        raise ValueError(f"no chapter for public names of {module}: add it to scripts/python_reference.py")
    return _TITLES[max(prefixes, key=len)]


def _error_tree() -> str:
    lines = (errors.__doc__ or "").strip().splitlines()
    return "\n".join(["### All errors", "", lines[0], "", "```text", *lines[2:], "```"])


def _entry(name: str, value: Any) -> str:
    """Return one name: its signature, its docstring, and for a class its fields and methods."""
    if inspect.isclass(value):
        return _class_entry(name, value)
    signature = _signature(_source_of(value).body[0])
    return f"### {name}\n\n```python\n{signature}\n```\n\n{_docstring(value)}"


def _source_of(value: Any) -> ast.Module:
    return ast.parse(inspect.getsource(value))


def _class_entry(name: str, value: type) -> str:
    source = inspect.getsource(value)
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.ClassDef)
    body = [*node.body, *_inherited(value)]
    parts = [_head_of_class(name, node, body)]
    if issubclass(value, Exception):
        signature = f"class {name}({', '.join(base.__name__ for base in value.__bases__)})"
        parts = [f"### {name}\n\n```python\n{signature}\n```\n\n{_docstring(value)}"]
    if fields := list(_fields(node, source, getattr(value, "model_fields", {}))):
        parts.append("\n".join(["| field | type | meaning |", "|---|---|---|", *fields]))
    return "\n\n".join([*parts, *_methods(name, body)])


def _head_of_class(name: str, node: ast.ClassDef, body: Sequence[ast.stmt]) -> str:
    """Return the heading of a class, how it is made, and its docstring."""
    constructor = next((item for item in body if _is_function(item, "__init__")), None)
    signature = f"class {name}({_arguments(constructor)})" if _has_arguments(constructor) else f"class {name}"
    return f"### {name}\n\n```python\n{signature}\n```\n\n{_formatted(ast.get_docstring(node) or '')}"


def _methods(owner: str, body: Sequence[ast.stmt]) -> Iterator[str]:
    """Yield the public methods and properties of a class."""
    for item in body:
        if isinstance(item, ast.FunctionDef) and not item.name.startswith("_") and not _is_internal(item):
            yield _method(owner, item)


def _inherited(value: type) -> Iterator[ast.stmt]:
    """Yield the members that a class has from the other classes of its room; those of `core` are of no interest."""
    known = set(vars(value))
    for base in value.__mro__[1:]:
        if not base.__module__.startswith("lmm_classifier.") or base.__module__.startswith("lmm_classifier.core."):
            continue
        (node,) = _source_of(base).body
        assert isinstance(node, ast.ClassDef)
        yield from (item for item in node.body if not isinstance(item, ast.FunctionDef) or item.name not in known)
        known |= set(vars(base))


def _is_function(item: ast.stmt, name: str) -> bool:
    return isinstance(item, ast.FunctionDef) and item.name == name


def _is_internal(item: ast.FunctionDef) -> bool:
    """Return whether a method only stores and rebuilds its object."""
    return item.name in ("to_arrays", "from_arrays")


def _has_arguments(constructor: ast.stmt | None) -> bool:
    return constructor is not None and "**" not in _arguments(constructor)


def _method(owner: str, item: ast.FunctionDef) -> str:
    decorators = {ast.unparse(decorator) for decorator in item.decorator_list}
    docstring = _formatted(ast.get_docstring(item) or "")
    if "property" in decorators:
        kind = ast.unparse(item.returns) if item.returns else ""
        return f"#### {owner}.{item.name}\n\n```python\n{item.name}: {kind}\n```\n\n{docstring}"
    decorator = "@classmethod\n" if "classmethod" in decorators else ""
    return f"#### {owner}.{item.name}\n\n```python\n{decorator}{_signature(item)}\n```\n\n{docstring}"


def _signature(node: ast.stmt) -> str:
    """Return a function's signature as it is written, on several lines if it is long."""
    assert isinstance(node, ast.FunctionDef)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    short = f"{node.name}({_arguments(node)}){returns}"
    if len(short) <= 100:
        return short
    arguments = ",\n".join(f"    {argument}" for argument in _split(node))
    return f"{node.name}(\n{arguments},\n){returns}"


def _split(node: ast.FunctionDef) -> Iterator[str]:
    """Yield the arguments of a function one by one."""
    plain = [*node.args.posonlyargs, *node.args.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(node.args.defaults)) + list(node.args.defaults)
    for argument, default in zip(plain, defaults):
        if argument.arg not in ("self", "cls"):
            text = ast.unparse(argument)
            yield f"{text} = {ast.unparse(default)}" if default is not None else text


def _arguments(node: ast.stmt | None) -> str:
    assert isinstance(node, ast.FunctionDef)
    if node.args.kwonlyargs or node.args.vararg or node.args.kwarg:
        return ast.unparse(node.args)
    return ", ".join(_split(node))


def _fields(node: ast.ClassDef, source: str, settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table row per public field.

    Its meaning is the text under it, the comment after it, or for a section of `settings` the docstring of its class.
    """
    comments = dict(_comments(source))
    for item, following in zip(node.body, [*node.body[1:], None]):
        if not isinstance(item, ast.AnnAssign) or ast.unparse(item.target).startswith("_"):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            meaning = str(following.value.value)
        else:
            section = getattr(settings.get(ast.unparse(item.target)), "annotation", None)
            meaning = inspect.getdoc(section) or "" if section else comments.get(item.end_lineno or 0, "")
        kind = ast.unparse(item.annotation).replace("|", "\\|")
        default = f" = {ast.unparse(item.value)}" if item.value is not None else ""
        meaning = " ".join(meaning.split()).replace("|", "\\|")
        yield f"| `{ast.unparse(item.target)}` | `{kind}{default}` | {meaning} |"


def _comments(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.removeprefix("#").strip()


def _docstring(value: Any) -> str:
    return _formatted(inspect.getdoc(value) or "")


def _formatted(text: str) -> str:
    """Return a docstring in Google style as Markdown: sections in bold, arguments as a list, examples as code."""
    chunks: list[str] = []
    section, lines = "", list[str]()
    for line in [*text.splitlines(), "Example:"]:
        match = _SECTION.match(line)
        if match is None:
            lines.append(line)
            continue
        chunks += _chunk(section, lines)
        section, lines = match.group(1), []
    return "\n\n".join(chunks)


def _chunk(section: str, lines: list[str]) -> list[str]:
    body = inspect.cleandoc("\n" + "\n".join(lines)).strip()
    if not body:
        return []
    if section == "Example":
        return [f"```python\n{body}\n```"]
    if section in ("Args", "Raises", "Attributes"):
        return [f"**{section}**", "\n".join(_items(lines))]
    return [f"**{section}**", body] if section else [body]


def _items(lines: list[str]) -> Iterator[str]:
    """Yield one list item per argument, each on one line."""
    item = ""
    for line in lines:
        match = _ITEM.match(line)
        if match is None:
            item += f" {line.strip()}" if line.strip() else ""
            continue
        if item:
            yield item
        item = f"- `{match.group(1)}`: {match.group(2)}"
    if item:
        yield item
