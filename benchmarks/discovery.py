"""Discovery: new labels, what to label next, and all that is measured of what an index says beyond its labels.

Each part is a module `benchmarks/discovery_<part>.py` with a function `rows(quick)`. A full run writes
benchmarks/results/discovery.json; with `--only` the rows of that part alone are new.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from benchmarks.rows import Row, print_rows, read_rows, write_rows

NAME = "discovery"
_PREFIX = "discovery_"


def parts() -> list[str]:
    """Return the names of the parts: those of the modules that measure something."""
    found = sorted(path.stem for path in Path(__file__).parent.glob(f"{_PREFIX}*.py"))
    return [name.removeprefix(_PREFIX) for name in found if hasattr(import_module(f"benchmarks.{name}"), "rows")]


def measure(part: str, quick: bool) -> list[Row]:
    """Return the rows of one part."""
    return list(import_module(f"benchmarks.{_PREFIX}{part}").rows(quick))


def with_new(new: list[Row], stored: list[Row]) -> list[Row]:
    """Return stored rows with those of one part replaced; rows of a part have one command."""
    mine = {row.command for row in new}
    return [*(row for row in stored if row.command not in mine), *new]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer draws; nothing is written")
    parser.add_argument("--only", choices=parts(), help="measure one part")
    arguments = parser.parse_args()
    rows = read_rows(NAME)
    for part in [arguments.only] if arguments.only else parts():
        new = measure(part, arguments.quick)
        rows = with_new(new, rows)
        if arguments.quick:
            print_rows(new)
        else:
            write_rows(NAME, rows)


if __name__ == "__main__":
    main()
