"""The syntax of the modules of the package: each is parsed once, however many tests read it."""

import ast
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Return every node of a module."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def mentioning(pattern: str, paths: Iterable[Path]) -> list[Path]:
    """Return the modules whose text a pattern finds; parsing all of them takes seconds."""
    wanted = re.compile(pattern)
    return [path for path in paths if wanted.search(path.read_text(encoding="utf-8"))]
