"""Results of several modules in one file: each part is a module `benchmarks/<name>_<part>.py` with `rows(quick)`."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from benchmarks.rows import Row, print_rows, read_rows, write_rows


def parts_of(name: str) -> list[str]:
    """Return the names of the parts: those of the modules that measure something."""
    found = sorted(path.stem for path in Path(__file__).parent.glob(f"{name}_*.py"))
    return [stem.removeprefix(f"{name}_") for stem in found if hasattr(import_module(f"benchmarks.{stem}"), "rows")]


def measure(name: str, part: str, quick: bool) -> list[Row]:
    """Return the rows of one part."""
    return list(import_module(f"benchmarks.{name}_{part}").rows(quick))


def with_new(new: list[Row], stored: list[Row]) -> list[Row]:
    """Return stored rows with those of one part replaced; rows of a part have one command."""
    mine = {row.command for row in new}
    return [*(row for row in stored if row.command not in mine), *new]


def run_joined(name: str, description: str | None) -> None:
    """Measure all parts, or the one that `--only` names, and write benchmarks/results/<name>.json."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="smaller sizes; nothing is written")
    parser.add_argument("--only", choices=parts_of(name), help="measure one part")
    arguments = parser.parse_args()
    rows = read_rows(name)
    for part in [arguments.only] if arguments.only else parts_of(name):
        new = measure(name, part, arguments.quick)
        rows = with_new(new, rows)
        if arguments.quick:
            print_rows(new)
        else:
            write_rows(name, rows)
