"""Rows of CSV, TSV, JSON lines and Parquet files, as the columns that were asked for."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from lmm_classifier.core.csv_cells import unescape_cell
from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.readers.listing import Value
from lmm_classifier.data.readers.parquet_file import ParquetTable
from lmm_classifier.data.readers.source_file import SourceFile, unreadable

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
Table = ParquetTable | list[dict[str, Value]]


def read_table(file: SourceFile, ending: str) -> tuple[Sequence[str], Table]:
    """Return the names of the columns, and the rows.

    Args:
        file: the table.
        ending: of its name, which tells its format: csv, tsv, jsonl, ndjson or parquet.

    Raises:
        DatasetError: it cannot be read as such a table; the message names the line.
    """
    if ending == "parquet":
        table = ParquetTable(file)
        return table.columns, table
    try:
        text = _text(file)
        if ending not in ("jsonl", "ndjson"):
            return _cells(text, file, ending)
        rows = list(_json_lines(text, file))
    except UnicodeError:
        raise DatasetError(f"{file} is not UTF-8 text. Save it as UTF-8.") from None
    except OSError as error:
        raise unreadable(file, error) from error
    return list(dict.fromkeys(name for row in rows for name in row)), rows


def _text(file: SourceFile) -> io.StringIO:
    with file.open() as opened:
        data = opened.read()
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    return io.StringIO(data.decode(encoding), newline="")


def _cells(text: io.StringIO, file: SourceFile, ending: str) -> tuple[list[str], Table]:
    """Return the names in the first line, and the rows below it; empty lines are passed over.

    An apostrophe that keeps a spreadsheet from taking a cell for a formula is no part of its text.
    """
    first = text.readline()
    text.seek(0)
    separator = "\t" if ending == "tsv" else ";" if ";" in first and "," not in first else ","
    rows = csv.reader(text, delimiter=separator, strict=True)
    table = list[dict[str, Value]]()
    try:
        head = next(rows, [])
        if len(set(head)) < len(head):
            raise DatasetError(f"{file} has two columns of the same name in its first line.")
        for row in rows:
            if row and len(row) != len(head):
                raise DatasetError(f"{file}, line {rows.line_num}: {len(row)} cells, expected {len(head)}.")
            if row:
                table.append(dict(zip(head, map(unescape_cell, row))))
    except csv.Error as error:
        raise DatasetError(f"{file}, line {rows.line_num}: not a CSV file ({error}).") from None
    return head, table


def _json_lines(text: io.StringIO, file: SourceFile) -> Iterator[dict[str, Value]]:
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        try:
            row: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{file}, line {number}: not JSON ({str(error)[:80]}).") from None
        if not isinstance(row, dict):
            raise DatasetError(f"{file}, line {number}: expected an object such as {{...}}, got {type(row).__name__}.")
        yield row
