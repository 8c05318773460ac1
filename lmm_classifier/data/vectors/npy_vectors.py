"""Vectors in an array of NumPy, with their labels and ids in lists: text, CSV, or arrays without pickle."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.core.text import first_line
from lmm_classifier.core.vectors import normalized_vectors
from lmm_classifier.data.vectors.named_vectors import NamedVectors


def read_npy(
    vectors: Path, labels: Path | None = None, ids: Path | None = None, groups: Path | None = None
) -> NamedVectors:
    """Read an array (n, dim) with lists of n labels, n ids and n groups, where they are given.

    A list is a text file with one value a line, a CSV file with a column `label`, `id` or `group`, or an array `.npy`
    of text or whole numbers.

    Raises:
        DatasetError: a file cannot be read, or a list has another length.
        VectorError: the array holds no vectors, or a row is not finite or zero.
    """
    rows = normalized_vectors(_read_array(vectors, "vectors.astype('float32')"))
    return NamedVectors(
        rows,
        None if labels is None else _read_list(labels, "label", len(rows), vectors),
        None if ids is None else _read_list(ids, "id", len(rows), vectors),
        None if groups is None else _read_list(groups, "group", len(rows), vectors),
    )


def _read_array(path: Path, instead: str) -> NDArray[Any]:
    """Read an array; `instead` is what to save where it holds Python objects, which cannot be read without pickle."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist.") from None
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError) as error:
        if _is_of_objects(path):
            raise DatasetError(f"{path} is an array of Python objects. Save {instead} instead.") from None
        raise DatasetError(f"{path} cannot be read as an array of NumPy: {first_line(error)}") from None
    if not isinstance(array, np.ndarray):
        raise DatasetError(
            f"{path} holds several arrays. Expected one .npy file; save the vectors alone with numpy.save."
        )
    return array


def _is_of_objects(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            if np.lib.format.read_magic(file) == (1, 0):
                return bool(np.lib.format.read_array_header_1_0(file)[2].hasobject)
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError):
        pass
    return False


def _read_list(path: Path, column: str, count: int, vectors: Path) -> list[str]:
    ending = path.suffix.lower()
    readers = {".npy": _from_array, ".csv": _from_csv, ".tsv": _from_csv}
    values = readers.get(ending, _from_lines)(path, column)
    if len(values) != count:
        raise DatasetError(
            f"{path} has {len(values)} values, but {vectors} has {count} vectors. Expected one for each."
        )
    return values


def _from_array(path: Path, column: str) -> list[str]:
    array = _read_array(path, f"text: {column}s.astype(str)")
    if array.ndim != 1 or array.dtype.kind not in "Uiu":
        raise DatasetError(f"{path} is an array of {array.dtype} {array.shape}. Expected one {column} for each vector.")
    return [str(value) for value in array.tolist()]


def _from_csv(path: Path, column: str) -> list[str]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.DictReader(StringIO(_text(path), newline=""), delimiter=delimiter, strict=True)
    try:
        if (reader.fieldnames or []).count(column) != 1:
            raise DatasetError(f"{path} has no column {column!r}. Columns: {', '.join(reader.fieldnames or [])}.")
        rows = [row[column] for row in reader]
    except csv.Error as error:
        raise DatasetError(f"{path} cannot be read as CSV: {error}") from None
    if None in rows:
        raise DatasetError(f"{path} has no {column} in row {rows.index(None)}.")
    return rows


def _from_lines(path: Path, column: str) -> list[str]:  # noqa: ARG001 - a text has one column
    lines = [line.removesuffix("\r") for line in _text(path).split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return file.read()
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as text in UTF-8: {first_line(error)}") from None
