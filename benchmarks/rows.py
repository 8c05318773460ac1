"""One row per measured figure, stored in benchmarks/results/<name>.json."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

RESULTS = Path(__file__).parent / "results"

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Row:
    """A figure with its goal. A row that misses its goal stays in the results, marked."""

    name: str
    value: float
    unit: str
    goal: float | None
    better: Better
    against: str  # the data it is measured on, or what it is compared with
    where: str  # the machine and the library versions
    command: str
    spread: str = ""  # the smallest and the largest value of single rounds

    @property
    def reached(self) -> bool:
        """Return whether the goal is met (true where there is none)."""
        if self.goal is None:
            return True
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal


def where(*libraries: str) -> str:
    """Return the machine and the library versions, without anything private."""
    versions = []
    for library in ("numpy", "pillow", *libraries):
        try:
            versions.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            continue
    return f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {', '.join(versions)}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def read_rows(name: str) -> list[Row]:
    """Read the rows of one file of results; none if the file does not exist."""
    file = RESULTS / f"{name}.json"
    return [Row(**row) for row in json.loads(file.read_text(encoding="utf-8"))] if file.exists() else []


def write_rows(name: str, rows: list[Row]) -> None:
    """Write and print the rows."""
    RESULTS.mkdir(exist_ok=True)
    records = [{key: value for key, value in asdict(row).items() if key != "spread" or value} for row in rows]
    text = json.dumps(records, indent=1, ensure_ascii=False) + "\n"
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")
    print_rows(rows)


def print_rows(rows: list[Row]) -> None:
    """Print the rows, a line each."""
    for row in rows:
        goal = "" if row.goal is None else f" (goal {row.goal:g}{'' if row.reached else ', MISSED'})"
        print(f"{row.name}: {row.value:g} {row.unit}{goal}")


def run_part(name: str, description: str | None, measure: Callable[[bool], list[Row]]) -> None:
    """Measure one part from the command line. It writes benchmarks/results/<name>.json, or nothing with `--quick`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="smaller sizes; nothing is written")
    if parser.parse_args().quick:
        print_rows(measure(True))
    else:
        write_rows(name, measure(False))
