"""Results that a file holds already, so that a run can continue where the last one ended."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from lmm_classifier.cli.writers import CSV_COLUMNS, CSV_COLUMNS_OF_LEVELS, HEADS, OF_LEVELS
from lmm_classifier.core.appended_file import whole_records
from lmm_classifier.core.csv_cells import read_rows
from lmm_classifier.core.errors import DatasetError, OutputError


@dataclass(frozen=True, slots=True)
class StoredResult:
    """What is needed of a stored result to continue: the file and its content, the label, and the run."""

    path: str
    content_hash: str  # "" where the file could not be read
    label: str
    outcome: str  # as the summary counts it
    run: str


@dataclass
class StoredResults:
    """The results in a file by their paths, the last one of each, and the length of the file that holds them."""

    by_path: dict[str, StoredResult] = field(default_factory=dict)
    bytes: int = 0
    torn_bytes: int = 0  # of a record that was not complete
    run: str = ""  # of the last result

    @classmethod
    def read(cls, path: Path, output_format: str) -> StoredResults:
        """Read a file of results, but not a torn record at its end.

        Raises:
            OutputError: the file holds something else; the message names the line.
        """
        stored, is_csv = cls(), output_format in ("csv", OF_LEVELS)
        if not path.exists() or not path.is_file():
            return stored
        with path.open("rb") as file:
            for number, record in enumerate(whole_records(file, b'"' if is_csv else b""), start=1):
                text = record.decode("utf-8", "surrogateescape")
                if number > 1 or not is_csv:
                    result = _parsed(text, output_format, f"{path}, record {number}")
                    stored.by_path[result.path], stored.run = result, result.run
                elif text != HEADS[output_format]:
                    columns = CSV_COLUMNS if output_format == "csv" else CSV_COLUMNS_OF_LEVELS
                    raise OutputError(f"{path} is no CSV file of such a run: expected the columns {columns}.")
                stored.bytes += len(record)
        stored.torn_bytes = path.stat().st_size - stored.bytes
        return stored


def outcome(reason: str, is_unknown: bool) -> str:
    """Return the group in which the summary counts a result."""
    if reason == "unreadable":
        return "unreadable"
    if is_unknown:
        return "unknown"
    return "reranked" if reason in ("reranked", "reranker_failed") else "accepted"


def _parsed(text: str, output_format: str, source: str) -> StoredResult:
    try:
        if output_format in ("csv", OF_LEVELS):
            (values,) = read_rows([HEADS[output_format], text], source)
            is_unknown = values["is_unknown"] == "true"
        else:
            values = json.loads(text)
            is_unknown = bool(values["is_unknown"])
        names = ("path", "label", "reason", "content_hash", "run")
        path, label, reason, content_hash, run = (str(values[name] or "") for name in names)
    except (ValueError, KeyError, TypeError, DatasetError):
        raise OutputError(f"{source}: not a result of this program. Nothing was changed.") from None
    return StoredResult(path, content_hash, label, outcome(reason, is_unknown), run)
