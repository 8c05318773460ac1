"""Answers and calibrations through a store of rows next to exact ones, with goals; `scale_sparse` measures them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.rows import RESULTS, Better, Row, where

COMMAND = "python -m benchmarks.scale --only answers"
_FILE = RESULTS / "scale_sparse.json"


def rows_of(name: str, found: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the figures of one data set; those of an exact comparison where there was one.

    The goals are those of answers as they are read by default, not of fewer labels.
    """
    by_default = "labels read" not in name
    about = f"{found['rows']:,} rows, {found['labels']:,} labels, second draw"

    def row(figure: str, value: float, unit: str, goal: float | None, better: Better, more: str = "") -> Row:
        against, goal = about + more, goal if by_default else None
        return Row(f"answers, {name}: {figure}", float(f"{value:.4g}"), unit, goal, better, against, where(), COMMAND)

    if "exact" in found:
        exact, difference = found["exact"], found["difference of the score"]
        yield row("same label as exactly", 100 * found["same answer"], "%", 99.9, "higher")
        scores = f"; 99% below {difference['99%']:.2g}, mean {difference['mean']:.2g}"
        yield row("largest difference of the score", difference["largest"], "", 0.02, "lower", scores)
        threshold = abs(found["store"]["threshold"] - exact["threshold"])
        values = f"; {found['store']['threshold']:.3f}, exactly {exact['threshold']:.3f}"
        yield row("difference of the threshold", threshold, "", 0.01, "lower", values)
    asked = f"; asked for 98%; {100 * found['store']['accepted']:.1f}% accepted"
    yield row("precision above the threshold", 100 * found["store"]["precision"], "%", 98, "higher", asked)
    yield row("examples that are calibrated on", found["examples left out"], "", None, "higher")
    usual = f"; exactly {found['exact calibration, CPU s']:,} s" if "exact" in found else ""
    yield row("processor time of a calibration", found["calibration, CPU s"], "s", None, "lower", usual)
    usual = f"; exactly {found['exact answer, CPU ms']} ms" if "exact" in found else ""
    yield row("processor time of an answer", found["answer, CPU ms"], "ms", None, "lower", usual)
    yield row("memory", found["memory, MB"], "MB", None, "lower", "; at the peak, with all rows")


def rows(quick: bool) -> list[Row]:
    """Measure the drawn data sets; quickly the smallest alone."""
    only = ["--only", "1,000 labels"] if quick else []
    subprocess.run([sys.executable, "-m", "benchmarks.scale_sparse", *only], check=True, stdout=sys.stderr)
    results = json.loads(_FILE.read_text(encoding="utf-8"))
    return [row for name, found in results.items() for row in rows_of(name, found)]
