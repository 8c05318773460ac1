"""CSV files that a spreadsheet can open safely, and that are read back exactly.

A spreadsheet takes a cell that begins with `=`, `+`, `-`, `@`, a tab or a line break for a formula. Labels and file
names come from outside, so such a text gets a leading apostrophe, as OWASP advises. The same holds after a semicolon, a
tab or a line break inside a text, because some spreadsheets split cells there. Spaces, quotes and apostrophes before
the sign do not hide it. `unescape_cell` removes exactly what `escape_cell` added. Numbers stay numbers.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from typing import IO, Any

from lmm_classifier.core.errors import DatasetError

Cell = str | float | bool | None  # an int is a float here
_START = r"(?:(?<![\s\S])|(?<=[;\t\r\n]))"  # of a text, or after what may separate cells
_FORMULA = r"(?=[ \"'\u00a0]*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])"  # its full-width forms too
_UNSAFE = re.compile(_START + _FORMULA)
_ESCAPED = re.compile(f"{_START}'{_FORMULA}")


def escape_cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula; `unescape_cell` gives the text back."""
    return _UNSAFE.sub("'", text)


def unescape_cell(cell: str) -> str:
    """Undo `escape_cell`."""
    return _ESCAPED.sub("", cell)


def write_row(out: IO[str], cells: Iterable[Cell]) -> None:
    """Write one row: texts escaped, fractions with six decimals, truth values in lower case, None as an empty cell."""
    line = StringIO()
    csv.writer(line, lineterminator="\r\n").writerow([_text(cell) for cell in cells])  # quotes both line breaks
    out.write(line.getvalue().removesuffix("\r\n") + "\n")


def read_rows(file: Iterable[str], source: str) -> Iterator[dict[str, str]]:
    """Yield the rows below the head by their column names, with texts as they were before `write_row`.

    Raises:
        DatasetError: if a row has not as many cells as the head; the message names `source` and the line.
    """
    rows = csv.reader(file, strict=True)
    try:
        head: Sequence[str] = next(rows, [])
        for row in rows:
            if len(row) != len(head):
                raise DatasetError(f"{source}, line {rows.line_num}: {len(row)} cells, expected {len(head)}.")
            yield dict(zip(head, map(unescape_cell, row)))
    except csv.Error as error:
        raise DatasetError(f"{source}, line {rows.line_num}: not a CSV file ({error}).") from None


def _text(cell: Cell) -> Any:
    if isinstance(cell, str):
        return escape_cell(cell)
    if isinstance(cell, bool):
        return str(cell).lower()
    return f"{cell:.6f}" if isinstance(cell, float) else cell
