"""Read vectors from a file of any of the kinds."""

from __future__ import annotations

from pathlib import Path

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.vectors.named_vectors import NamedVectors, VectorColumns
from lmm_classifier.data.vectors.npy_vectors import read_npy
from lmm_classifier.data.vectors.parquet_vectors import read_parquet


def read_vectors(
    path: Path,
    columns: VectorColumns = VectorColumns(),  # noqa: B008 - it is frozen
    labels: Path | None = None,
    ids: Path | None = None,
    groups: Path | None = None,
) -> NamedVectors:
    """Read a `.npy` file with its lists, or a table: a `.parquet` file, or a folder of them.

    Raises:
        DatasetError: the file cannot be read, or lists are given to a table.
        VectorError: a vector is no row of finite numbers, or is zero.
        MissingExtraError: the library that reads the file is not installed.
    """
    if path.suffix.lower() == ".npy":
        return read_npy(path, labels, ids, groups)
    if path.suffix.lower() != ".parquet" and not path.is_dir():
        raise DatasetError(f"{path} has no known ending. Expected .npy, .parquet, or a folder of .parquet files.")
    if labels is not None or ids is not None or groups is not None:
        raise DatasetError(f"{path} is a table, so its labels, ids and groups are columns and no other files.")
    return read_parquet(path, columns)
