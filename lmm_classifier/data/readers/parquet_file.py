"""A Parquet file: its columns, rows as plain values, and single images out of its row groups."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lmm_classifier.core.errors import DatasetError, LmmClassifierError
from lmm_classifier.core.forking import ForkSafeLock
from lmm_classifier.core.optional_imports import import_optional
from lmm_classifier.data.readers.listing import Value
from lmm_classifier.data.readers.source_file import SourceFile, unreadable

_ROWS = 1024  # read at a time
_MOST = 2 << 30  # bytes of the images in a row group, unpacked
_KEPT = 2  # row groups of images in memory


class ParquetTable:
    """A Parquet file that is open for as long as a call lasts."""

    def __init__(self, file: SourceFile) -> None:
        """Read the schema.

        Raises:
            DatasetError: it is no Parquet file, or damaged.
            MissingExtraError: pyarrow is not installed.
        """
        self.file = file
        self._lock = ForkSafeLock()
        self._images: OrderedDict[tuple[str, int], Any] = OrderedDict()
        with self._opened() as opened:
            schema = opened.schema_arrow
            self.columns: list[str] = list(schema.names)
            self._starts = [0]
            for number in range(opened.metadata.num_row_groups):
                self._starts.append(self._starts[-1] + opened.metadata.row_group(number).num_rows)
            self._types = {name: schema.field(name).type for name in dict.fromkeys(self.columns)}
            self._names = _class_names(schema.metadata)

    @property
    def count(self) -> int:
        """Return the number of rows."""
        return self._starts[-1]

    def holds_images(self, column: str) -> bool:
        """Return whether a column holds the bytes of images: binary, or a struct with a field `bytes`."""
        kind = str(self._types[column])
        return kind in _BINARY or (kind.startswith("struct<") and _bytes_type(self._types[column]) in _BINARY)

    def rows(self, columns: Sequence[str]) -> Iterator[dict[str, Value]]:
        """Yield the values of columns; numbers of Hugging Face labels become their names."""
        with self._opened() as opened:
            for batch in opened.iter_batches(batch_size=_ROWS, columns=list(columns)):
                for row in batch.to_pylist():
                    yield {name: self._named(name, value) for name, value in row.items()}

    def image_names(self, column: str) -> Iterator[str]:
        """Yield for each row the name that a struct has in addition to the bytes, empty where there is none."""
        kind = self._types[column]
        if str(kind) in _BINARY or kind.get_field_index("path") < 0:
            yield from ("" for _ in range(self.count))
            return
        for row in self.rows([f"{column}.path"]):
            inner: Any = row[column]
            name = inner.get("path") if isinstance(inner, dict) else None
            yield name if isinstance(name, str) else ""

    def image(self, column: str, row: int) -> bytes:
        """Return the bytes of one image; raise OSError where there are none."""
        try:
            value = self._row_group(column, row)
        except DatasetError as error:
            raise OSError(str(error)) from error
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise FileNotFoundError(f"row {row} holds no bytes of an image")
        return data

    def _row_group(self, column: str, row: int) -> Any:
        group = next((number for number, start in enumerate(self._starts[1:]) if row < start), None)
        if group is None or row < 0:
            raise FileNotFoundError(f"{self.file} has no row {row} now")
        key = column, group
        with self._lock:
            if key not in self._images:
                self._images[key] = self._read(column, group)
                if len(self._images) > _KEPT:
                    self._images.popitem(last=False)
            self._images.move_to_end(key)
            values = self._images[key]
        if row - self._starts[group] >= len(values):
            raise OSError(f"{self.file} is damaged: a row group has fewer rows than it announces")
        return values[row - self._starts[group]].as_py()

    def _read(self, column: str, group: int) -> Any:
        with self._opened() as opened:
            about = opened.metadata.row_group(group)
            parts = [about.column(number) for number in range(about.num_columns)]
            size = sum(p.total_uncompressed_size for p in parts if p.path_in_schema.partition(".")[0] == column)
            if size > _MOST:
                raise DatasetError(
                    f"{self.file}: the images of a row group take {size:,} bytes, at most {_MOST:,} are read. Write "
                    "the file with smaller row groups, such as 500 images."
                )
            return opened.read_row_group(group, columns=[column])[column]

    def _named(self, column: str, value: Any) -> Any:
        names = self._names.get(column)
        if names and isinstance(value, int) and 0 <= value < len(names):
            return names[value]
        return value

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        arrow, parquet = import_optional("pyarrow", "parquet"), import_optional("pyarrow.parquet", "parquet")
        try:
            with self.file.open() as file, parquet.ParquetFile(file) as opened:
                yield opened
        except LmmClassifierError:
            raise
        except (arrow.ArrowException, OSError, ValueError, LookupError, OverflowError, MemoryError) as error:
            if isinstance(error, FileNotFoundError):
                raise unreadable(self.file, error) from error
            raise DatasetError(f"{self.file} cannot be read as a Parquet file: {str(error)[:200]}.") from error


_BINARY = ("binary", "large_binary", "binary_view")


def _bytes_type(struct: Any) -> str:
    place = struct.get_field_index("bytes")
    return str(struct.field(place).type) if place >= 0 else ""


def _class_names(metadata: dict[bytes, bytes] | None) -> dict[str, list[str]]:
    """Return for columns of labels the names of their numbers, as the library `datasets` writes them."""
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        named = {name: feature.get("names") for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {
        name: names
        for name, names in named.items()
        if isinstance(names, list) and all(isinstance(text, str) for text in names)
    }
