"""How a result is written: a line of a table for people, JSON lines and CSV for programs.

Each result is one record, and a file of records begins with the head of its format.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from io import StringIO

from lmm_classifier.cli.console import escape_for_terminal
from lmm_classifier.core.csv_cells import Cell, write_row
from lmm_classifier.core.datatypes import Classification

CSV_COLUMNS = (
    "path",
    "label",
    "score",
    "is_unknown",
    "reason",
    "used_reranker",
    "encoders",
    "similarity",
    "nearest_path",
    "nearest_label",
    "error",
    "content_hash",
    "run",
)
CSV_COLUMNS_OF_LEVELS = (*CSV_COLUMNS, "level", "label_path")  # with a hierarchy
Record = Callable[[Classification, str], str]
_TABLE_HEAD = f"{'label':<20} {'score':>5}  {'reason':<15} {'file':<32} why\n"


def table_record(result: Classification, run: str = "") -> str:  # noqa: ARG001 - all formats have one signature
    """Return one aligned line."""
    label, path = escape_for_terminal(result.label), escape_for_terminal(result.path or "")
    why = escape_for_terminal(result.why)
    return f"{label:<20} {result.score:>5.2f}  {result.decision.reason:<15} {path:<32} {why}\n"


def jsonl_record(result: Classification, run: str = "") -> str:
    """Return one line with a JSON object: the result with its supporting neighbors, and the run where it has one."""
    return json.dumps({**result.to_dict(), "run": run} if run else result.to_dict()) + "\n"


def csv_record(result: Classification, run: str = "") -> str:
    """Return one row."""
    return _row(_cells(result, run))


def csv_record_of_levels(result: Classification, run: str = "") -> str:
    """Return one row with the level of the answer and the way to it, separated by ` / `."""
    return _row([*_cells(result, run), result.level, " / ".join(result.label_path or ())])


def _cells(result: Classification, run: str) -> list[Cell]:
    neighbors = [neighbor for candidate in result.candidates for neighbor in candidate.neighbors]
    nearest = max(neighbors, key=lambda neighbor: neighbor.similarity, default=None)
    return [
        result.path,
        result.label,
        result.score,
        result.is_unknown,
        result.decision.reason,
        result.used_reranker,
        "; ".join(result.encoders),
        result.similarity,
        nearest.example.path if nearest else None,
        nearest.example.label if nearest else None,
        result.error,
        result.content_hash,
        run,
    ]


def _row(cells: Sequence[Cell]) -> str:
    row = StringIO()
    write_row(row, cells)
    return row.getvalue()


OF_LEVELS = "csv of levels"  # the format of CSV where there is a hierarchy
RECORDS: dict[str, Record] = {
    "table": table_record,
    "jsonl": jsonl_record,
    "csv": csv_record,
    OF_LEVELS: csv_record_of_levels,
}
HEADS = {
    "table": _TABLE_HEAD,
    "jsonl": "",
    "csv": ",".join(CSV_COLUMNS) + "\n",
    OF_LEVELS: ",".join(CSV_COLUMNS_OF_LEVELS) + "\n",
}
