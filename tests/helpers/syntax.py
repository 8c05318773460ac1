"""The syntax of the modules of the package: each is parsed once, however many tests read it."""

import ast
from functools import cache
from pathlib import Path


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Return every node of a module."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
