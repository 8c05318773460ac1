"""A table of Lance next to a graph of faiss, with goals; `scale_lance` measures it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.rows import Better, Row, where

COMMAND = "python -m benchmarks.scale --only table"
ROWS, MANY = 200_000, 1_000_000
Results = Mapping[str, float]

# figure -> unit, goal, which is better, and how it follows from what was measured
_FIGURES: dict[str, tuple[str, float | None, Better, Callable[[Results], float]]] = {
    "recall at 10": ("", 0.99, "higher", lambda found: found["recall at 10"]),
    "queries whose nearest row is the exact one": (
        "%",
        99.9,
        "higher",
        lambda found: 100 * found["nearest row is the exact one"],
    ),
    "answers equal to those by all rows": ("%", 99.9, "higher", lambda found: 100 * found["answers that are equal"]),
    "largest difference of the score": ("", 0.02, "lower", lambda found: found["largest difference of the score"]),
    "processor time of a query relative to a graph": (
        "x",
        6.0,
        "lower",
        lambda found: found["query, CPU ms"] / found["graph, query, CPU ms"],
    ),
    "processor time to index a row relative to a graph": (
        "x",
        1.0,
        "lower",
        lambda found: found["index of vectors alone, CPU s"] / found["graph, build, CPU s"],
    ),
    "processor time of 8 labels, unsorted relative to sorted rows": (
        "x",
        3.0,
        "higher",
        lambda found: found["8 labels, unsorted : sorted"],
    ),
    "processor time of a query": ("ms", None, "lower", lambda found: found["query, CPU ms"]),
    "processor time of an answer": ("ms", None, "lower", lambda found: found["answer, CPU ms"]),
    "processor time of a calibration": ("s", None, "lower", lambda found: found["calibration, CPU s"]),
    "processor time to read 8 labels": ("ms", None, "lower", lambda found: found["8 labels, sorted rows, CPU ms"]),
    "processor time to finish it": ("s", None, "lower", lambda found: found["finish with all indexes, CPU s"]),
    "disk, with indexes": ("GB", None, "lower", lambda found: found["disk of rows and indexes, GB"]),
    "disk, rows as they arrived": ("GB", None, "lower", lambda found: found["disk of arrivals, GB"]),
    "memory to make it": ("MB", None, "lower", lambda found: found["most memory, MB"]),
    "memory to search it": ("MB", None, "lower", lambda found: found["memory of the searching process, MB"]),
    "memory to calibrate it and answer": (
        "MB",
        None,
        "lower",
        lambda found: found["memory of the answering process, MB"],
    ),
}


def rows_of(results: Results) -> Iterator[Row]:
    """Yield the figures that can be had from what was measured; a part of it may be missing."""
    size = f"{int(results['rows']):,} x {int(results['dim'])}"
    for name, (unit, goal, better, figure) in _FIGURES.items():
        try:
            value = figure(results)
        except KeyError:
            continue
        against = "drawn rows, labels of 200"
        if "answer" in name or "score" in name or "calibrat" in name:
            against += "; 512 images, half of them between two labels; 1,000 examples held out"
        if "graph" in name:
            against += "; graph: faiss HNSW of 8-bit rows, 16 neighbors, 500 candidates"
        libraries = where("pylance", "faiss-cpu")
        yield Row(f"table, {size}: {name}", float(f"{value:.3g}"), unit, goal, better, against, libraries, COMMAND)


def rows(quick: bool) -> list[Row]:
    """Make a table and a graph of drawn rows, and search both; then a larger table without a graph."""
    runs = [["--rows", "20000"]] if quick else [["--rows", str(ROWS)], ["--rows", str(MANY), "--without", "graph"]]
    found = list[Row]()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "results.json"
        for run in runs:
            command = [sys.executable, "-m", "benchmarks.scale_lance", "--output", str(output), *run]
            subprocess.run(command, check=True, stdout=sys.stderr)
            found += rows_of(json.loads(output.read_text(encoding="utf-8")))
    return found
