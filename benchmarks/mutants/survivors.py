"""The committed list of mutants that no test can notice, `tests/equivalent_mutants.yaml`, each with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from benchmarks.mutants.mutations import Mutant, mutants_of_lines

FILE = Path("tests") / "equivalent_mutants.yaml"

ANY = "any"  # in the place of the lines after: every change of the line

Key = tuple[str, str, str]  # path, line before, line after


def read_equivalents(root: Path) -> dict[Key, str]:
    """Return the reason of each listed mutant."""
    listed = yaml.safe_load((root / FILE).read_text(encoding="utf-8")) or {}
    return {
        (path, entry["before"], after): entry["reason"]
        for path, entries in listed.items()
        for entry in entries
        for after in ([ANY] if entry["after"] == ANY else entry["after"])
    }


def is_listed(mutant: Mutant, equivalents: Mapping[Key, str]) -> bool:
    """Return whether a reason is given for a mutant."""
    return mutant.key in equivalents or (mutant.path, mutant.before, ANY) in equivalents


def stale(root: Path, equivalents: Mapping[Key, str]) -> list[Key]:
    """Return the listed mutants that the modules no longer have."""
    paths = sorted({path for path, _, _ in equivalents})
    lines = {path: {before for other, before, _ in equivalents if other == path} for path in paths}
    present = [path for path in paths if (root / path).is_file()]
    mutants = [mutant for path in present for mutant in mutants_of_lines(root, path, lines[path])]
    current = {mutant.key for mutant in mutants} | {(mutant.path, mutant.before, ANY) for mutant in mutants}
    return [key for key in equivalents if key not in current]


def described(keys: Iterable[Key]) -> str:
    """Return mutants as text, two lines each."""
    return "\n".join(f"{path}\n  - {before}\n  + {after}" for path, before, after in keys)
