"""Vectors in a Parquet file: a column of lists of numbers, next to one of labels and one of ids."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import DatasetError, LmmClassifierError
from lmm_classifier.core.optional_imports import import_optional
from lmm_classifier.core.text import first_line
from lmm_classifier.core.vectors import normalized_vectors
from lmm_classifier.data.vectors.named_vectors import NamedVectors, VectorColumns

_ROWS = 4096  # read at a time
_LISTED = 20  # columns in a message


def read_parquet(path: Path, columns: VectorColumns) -> NamedVectors:
    """Read vectors from a Parquet file, or from all `*.parquet` of a folder in the order of their names.

    Raises:
        DatasetError: a file cannot be read, or has no such columns, or a value is missing.
        VectorError: a vector is no row of finite numbers, or is zero.
        MissingExtraError: pyarrow is not installed.
    """
    arrow = import_optional("pyarrow", "parquet")
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise DatasetError(f"{path}: no file in this folder ends with .parquet.")
    table = _Table(columns)
    for file in files:
        try:
            table.read(file)
        except LmmClassifierError:
            raise
        except FileNotFoundError:
            raise DatasetError(f"{file} does not exist.") from None
        except (arrow.ArrowException, OSError, ValueError, NotImplementedError) as error:
            raise DatasetError(f"{file} cannot be read as Parquet: {first_line(error)}") from None
    return table.named_vectors()


def has_vector_column(path: Path) -> bool:
    """Return whether a file is a Parquet table with a column of lists of numbers; False too where it cannot be read."""
    try:
        schema = import_optional("pyarrow.parquet", "parquet").read_schema(path)
    except (LmmClassifierError, OSError, ValueError, NotImplementedError):  # errors of pyarrow are such
        return False
    return bool(_vector_columns(schema))


class _Table:
    """The rows that were read so far."""

    def __init__(self, columns: VectorColumns) -> None:
        self._columns = columns
        self._parts: list[Float32Array] = []
        self._labels: list[str] = []
        self._ids: list[str] = []
        self._groups: list[str] = []
        self._count, self._dim = 0, 0
        self._vector = ""

    def named_vectors(self) -> NamedVectors:
        """Return all rows."""
        chosen = {"vectors": self._vector, "labels": self._columns.label, "ids": self._columns.path}
        chosen["groups"] = self._columns.group
        return NamedVectors(
            np.concatenate(self._parts) if self._parts else np.empty((0, 0), np.float32),
            None if self._columns.label is None else self._labels,
            None if self._columns.path is None else self._ids,
            None if self._columns.group is None else self._groups,
            ", ".join(f"{what} of {name!r}" for what, name in chosen.items() if name),
        )

    def read(self, path: Path) -> None:
        """Add the rows of a file."""
        parquet = import_optional("pyarrow.parquet", "parquet")
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            self._vector = self._columns.vector or _only_vector_column(schema, path)
            texts = [(name, into) for name, into in self._texts() if name is not None]
            wanted = [self._vector, *(name for name, _ in texts)]
            _require_columns(schema, wanted, path)
            names = {name: _class_names(schema, name) for name in wanted}
            for batch in file.iter_batches(_ROWS, columns=list(dict.fromkeys(wanted))):
                source = f"{path}, column {self._vector!r}"
                rows = _numbers(batch.column(self._vector), source, self._count)
                if not self._dim:
                    self._dim = rows.shape[1]
                self._parts.append(normalized_vectors(rows, self._dim, self._count))
                for name, into in texts:
                    source = f"{path}, column {name!r}"
                    into.extend(_texts(batch.column(name), names[name], source, self._count, into is self._groups))
                self._count += batch.num_rows

    def _texts(self) -> list[tuple[str | None, list[str]]]:
        columns = self._columns
        return [(columns.label, self._labels), (columns.path, self._ids), (columns.group, self._groups)]


def _only_vector_column(schema: Any, path: Path) -> str:
    found = _vector_columns(schema)
    if len(found) != 1:
        raise DatasetError(
            f"{path} has {'several columns' if found else 'no column'} of lists of numbers"
            f"{': ' + _listed(found) if found else ''}. Columns: {_listed(schema.names)}. Name the one that holds the "
            "vectors."
        )
    return found[0]


def _vector_columns(schema: Any) -> list[str]:
    fields = [field for field in schema if _is_list(_storage(field.type)) and _is_number(_value_type(field.type))]
    return [str(field.name) for field in fields]


def _require_columns(schema: Any, wanted: Sequence[str], path: Path) -> None:
    for name in wanted:
        if schema.names.count(name) != 1:
            what = "several columns" if name in schema.names else "no column"
            raise DatasetError(f"{path} has {what} {name!r}. Columns: {_listed(schema.names)}.")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _numbers(column: Any, source: str, start: int) -> NDArray[Any]:
    """Return the rows (n, dim) of a column of lists; `start` is the number of the first row, for messages."""
    column = getattr(column, "storage", column)  # of a tensor
    if not _is_list(column.type) or not _is_number(column.type.value_type):
        raise DatasetError(f"{source} has {column.type}. Expected lists of numbers.")
    for row in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[:1]:
        raise DatasetError(f"{source} has no value in row {start + row}. Leave the row out.")
    lengths = import_optional("pyarrow.compute", "parquet").list_value_length(column).to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(lengths != lengths[:1])[:1]:
        raise DatasetError(f"{source} has {lengths[row]} numbers in row {start + row}, but {lengths[0]} before.")
    values = column.flatten()
    if values.null_count:
        raise DatasetError(f"{source} has a vector with missing numbers. Leave the row out.")
    width = int(lengths[0]) if len(lengths) else 0
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(len(column), width)


def _texts(column: Any, names: Sequence[str], source: str, start: int, may_lack: bool) -> Iterator[str]:
    """Yield the values of a column of texts or whole numbers; the numbers of classes that have names as these.

    Where one may lack, it is empty.
    """
    for row, value in enumerate(column.to_pylist(), start):
        if isinstance(value, int) and not isinstance(value, bool):
            yield names[value] if 0 <= value < len(names) else str(value)
        elif isinstance(value, str):
            yield value
        elif value is None and may_lack:
            yield ""
        else:
            found = "no value" if value is None else type(value).__name__
            raise DatasetError(f"{source} has {found} in row {row}. Expected text or a whole number.")


def _class_names(schema: Any, column: str) -> Sequence[str]:
    """Return the names of classes that the library `datasets` stores with their numbers; none where it does not."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()


def _storage(kind: Any) -> Any:
    return getattr(kind, "storage_type", kind)


def _value_type(kind: Any) -> Any:
    return _storage(kind).value_type


def _is_list(kind: Any) -> bool:
    types = import_optional("pyarrow.types", "parquet")
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_number(kind: Any) -> bool:
    types = import_optional("pyarrow.types", "parquet")
    return bool(types.is_floating(kind) or types.is_integer(kind))
