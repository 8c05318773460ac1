"""Writes results one by one: a table for people, JSON lines and CSV for programs."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from typing import IO

from lmm_classifier.cli.console import escape_for_terminal
from lmm_classifier.core.datatypes import Classification

CSV_COLUMNS = (
    "path",
    "label",
    "score",
    "is_unknown",
    "reason",
    "used_reranker",
    "similarity",
    "nearest_path",
    "nearest_label",
    "error",
)
Writer = Callable[[Iterable[Classification], IO[str]], Iterator[Classification]]


def write_table(results: Iterable[Classification], out: IO[str]) -> Iterator[Classification]:
    """Write one aligned line per result, as it comes, and yield each result."""
    out.write(f"{'label':<20} {'score':>5}  {'reason':<15} {'file':<32} why\n")
    for result in results:
        label, path = escape_for_terminal(result.label), escape_for_terminal(result.path or "")
        why = escape_for_terminal(result.why)
        out.write(f"{label:<20} {result.score:>5.2f}  {result.decision.reason:<15} {path:<32} {why}\n")
        yield result


def write_jsonl(results: Iterable[Classification], out: IO[str]) -> Iterator[Classification]:
    """Write one JSON object per result and line, with its supporting neighbors, and yield each result."""
    for result in results:
        out.write(result.to_json() + "\n")
        yield result


def write_csv(results: Iterable[Classification], out: IO[str]) -> Iterator[Classification]:
    """Write a header and one row per result, and yield each result."""
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(CSV_COLUMNS)
    for result in results:
        neighbors = [neighbor for candidate in result.candidates for neighbor in candidate.neighbors]
        nearest = max(neighbors, key=lambda neighbor: neighbor.similarity, default=None)
        rows.writerow(
            [
                result.path,
                result.label,
                f"{result.score:.6f}",
                str(result.is_unknown).lower(),
                result.decision.reason,
                str(result.used_reranker).lower(),
                "" if result.similarity is None else f"{result.similarity:.6f}",
                nearest.example.path if nearest else "",
                nearest.example.label if nearest else "",
                result.error or "",
            ]
        )
        yield result


WRITERS: dict[str, Writer] = {"table": write_table, "jsonl": write_jsonl, "csv": write_csv}
