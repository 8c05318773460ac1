"""Labels from a table: CSV, TSV or JSON lines, with a column of ids or files and one of labels."""

from __future__ import annotations

from pathlib import Path

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.readers.columns import column
from lmm_classifier.data.readers.source_file import LocalFile
from lmm_classifier.data.readers.tables import read_table
from lmm_classifier.integrations.corrected_labels.given_label import GivenLabel, text_or_none

_ENDINGS = ("csv", "tsv", "jsonl", "ndjson")


def read_csv(file: Path, label_column: str | None = None) -> list[GivenLabel]:
    """Return the labels of the rows; an empty cell is no label.

    Args:
        file: a table. The column of ids is `path`, or one of the names that a manifest may have.
        label_column: the column of labels; None is `label`, `class` or `category`.

    Raises:
        DatasetError: it cannot be read as such a table.
    """
    ending = file.suffix.removeprefix(".").lower()
    source = LocalFile(file)
    names, rows = read_table(source, ending if ending in _ENDINGS else "csv")
    paths, labels = column(None, names, "image", source), column(label_column, names, "label", source)
    if paths is None or labels is None:
        missing = "ids or files of images (path)" if paths is None else "labels (label)"
        raise DatasetError(f"{file} has no column of {missing}. Its columns are {', '.join(map(repr, names[:20]))}.")
    given = []
    for number, row in enumerate(rows if isinstance(rows, list) else (), start=1):
        path, label = row.get(paths), text_or_none(row.get(labels))
        name = None if path is None else str(path)
        given.append(GivenLabel(f"row {number}", name, name, label, "" if label else "it has no label"))
    return given
