"""One row per measured figure, written to benchmarks/results/<name>.json."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """A figure with its goal; a row that misses its goal stays, visibly."""

    name: str
    value: float
    unit: str
    goal: float | None
    better: Literal["higher", "lower"]
    against: str  # what it is compared with, or measured on
    where: str
    command: str
    spread: str = ""  # the least and the largest value of single rounds

    @property
    def reached(self) -> bool:
        """Whether the goal is met (true where there is none)."""
        if self.goal is None:
            return True
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal


def where(*libraries: str) -> str:
    """The machine and the library versions, without anything private."""
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


def write_rows(name: str, rows: list[Row]) -> None:
    """Write and print the rows."""
    RESULTS.mkdir(exist_ok=True)
    kept = [{name: value for name, value in asdict(row).items() if name != "spread" or value} for row in rows]
    text = json.dumps(kept, indent=1, ensure_ascii=False) + "\n"
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")
    for row in rows:
        goal = "" if row.goal is None else f" (goal {row.goal:g}{'' if row.reached else ', MISSED'})"
        print(f"{row.name}: {row.value:g} {row.unit}{goal}")
