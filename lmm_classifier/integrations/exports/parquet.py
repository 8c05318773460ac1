r"""Tables in Parquet, for pandas, the library `datasets` and Embedding Atlas: rows are written group by group.

Parquet holds text in UTF-8. A byte of a file name that is not UTF-8 is written as `\x` and two hexadecimal digits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lmm_classifier.core.errors import OutputError
from lmm_classifier.core.files import atomic_write
from lmm_classifier.core.optional_imports import import_optional
from lmm_classifier.core.text import first_line
from lmm_classifier.integrations.exports.new_file import require_new_file

MAGIC = b"PAR1"  # the first bytes of a file
_ROWS = 1024  # in a row group
_BYTES = 32 << 20  # of images in a row group


class ParquetRows:
    """The rows of one table, written one by one."""

    def __init__(self, writer: Any, schema: Any) -> None:
        self._writer, self._schema = writer, schema
        self._rows: list[Mapping[str, Any]] = []
        self._bytes = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row: plain values by their columns."""
        self._rows.append({name: utf8(value) for name, value in row.items()})
        image = row.get("image")
        self._bytes += len(image["bytes"]) if image is not None else 0
        if len(self._rows) == _ROWS or self._bytes >= _BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait, as one row group."""
        if self._rows:
            arrow = import_optional("pyarrow", "parquet")
            self._writer.write_table(arrow.Table.from_pylist(self._rows, self._schema))
        self._rows, self._bytes = [], 0


@contextmanager
def parquet_rows(output: Path, columns: Mapping[str, Any], overwrite: bool = False) -> Iterator[ParquetRows]:
    """Yield what writes rows to a table, which appears when the block ends without an error.

    Args:
        output: the file.
        columns: the types of Arrow by the names of the columns. A column `image` is marked as one of images.
        overwrite: replace an existing file.

    Raises:
        OutputError: the file exists and is not to be overwritten, or cannot be written.
        MissingExtraError: pyarrow is not installed.
    """
    arrow, parquet = import_optional("pyarrow", "parquet"), import_optional("pyarrow.parquet", "parquet")
    require_new_file(output, MAGIC, overwrite)
    marks = {"info": {"features": {"image": {"_type": "Image"}}}} if "image" in columns else None
    schema = arrow.schema(list(columns.items()), {"huggingface": json.dumps(marks)} if marks else None)
    try:
        with atomic_write(output) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
            rows = ParquetRows(writer, schema)
            yield rows
            rows.flush()
    except (arrow.ArrowException, OSError) as error:
        raise OutputError(f"Cannot write {output}: {first_line(error)}") from error


def utf8(value: Any) -> Any:
    """Return a text that UTF-8 can hold; any other value as it is."""
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def image_type() -> Any:
    """Return the type of a column of image files, as the library `datasets` has it."""
    arrow = import_optional("pyarrow", "parquet")
    return arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
