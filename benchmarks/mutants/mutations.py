"""Lists the mutants of a module, and draws a sample of them."""

from __future__ import annotations

import ast
import random
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

from benchmarks.mutants.operators import operators


@dataclass(frozen=True)
class Mutant:
    """A module with one small change."""

    path: str  # of the module, relative to the checkout
    line: int  # from 1
    before: str  # the line without its indentation
    after: str
    source: str  # the whole changed module

    @property
    def key(self) -> tuple[str, str, str]:
        """Return what names it while lines above come and go."""
        return self.path, self.before, self.after


def draw(root: Path, path: str, count: int | None, seed: int) -> list[Mutant]:
    """Draw `count` mutants of a module; None for all."""
    source = (root / path).read_text(encoding="utf-8")
    places = _places(source)
    random.Random(f"{seed} {path}").shuffle(places)
    return list(islice(_mutants(path, source, places), count))


def mutants_of_lines(root: Path, path: str, lines: Collection[str]) -> list[Mutant]:
    """Return all mutants of the given lines, each without its indentation."""
    source = (root / path).read_text(encoding="utf-8")
    text = source.splitlines()
    return list(_mutants(path, source, [place for place in _places(source) if text[place.line - 1].strip() in lines]))


def number_of_mutants(root: Path, path: str) -> int:
    """Return how many changes a module has, with the few that change only an annotation."""
    return len(_places((root / path).read_text(encoding="utf-8")))


@dataclass(frozen=True)
class _Place:
    """One of the places where an operator can change a module."""

    operator: str
    occurrence: int  # among the places of the operator
    line: int  # from 1


def _places(source: str) -> list[_Place]:
    nodes = list(ast_nodes(get_ast(source)))
    return [
        _Place(name, occurrence, line)
        for name, operator in operators().items()
        for occurrence, line in enumerate(start[0] for node in nodes for start, _ in operator.mutation_positions(node))
    ]


def _mutants(path: str, source: str, places: Iterable[_Place]) -> Iterator[Mutant]:
    mutants = (_mutant(path, source, place.operator, place.occurrence) for place in places)
    return (mutant for mutant in mutants if mutant is not None)


def _mutant(path: str, source: str, name: str, occurrence: int) -> Mutant | None:
    """Make one change; None where it changes only annotations or the kind of a dataclass, or is no Python."""
    changed = mutate_code(source, operators()[name], occurrence)
    if changed is None or _meaning(changed) in (None, _meaning(source)):
        return None
    line, before, after = next(_differences(source, changed))
    return Mutant(path, line, before, after, changed)


def _differences(source: str, changed: str) -> Iterator[tuple[int, str, str]]:
    lines = zip(source.splitlines(), changed.splitlines())
    return ((number, old.strip(), new.strip()) for number, (old, new) in enumerate(lines, 1) if old != new)


@cache
def _meaning(source: str) -> str | None:
    """Return the syntax tree without annotations and decorators of classes; None for what is no Python."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            node.annotation = ast.Constant("")
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.ClassDef):
            node.decorator_list = []
    return ast.dump(tree)
