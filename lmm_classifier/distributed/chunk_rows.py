"""The rows of a chunk: one for each of its files, good or bad, as a table of pyarrow."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import OutputError
from lmm_classifier.core.optional_imports import import_optional
from lmm_classifier.distributed.listing import ListedFile

UNREADABLE_NAME = "no_text"  # kind of a file whose name a table cannot hold
_MADE, _DIMS = b"lmm_classifier.made_with", b"lmm_classifier.dims"


@dataclass(frozen=True, slots=True)
class FileRow:
    """What became of a file. A good one has a vector of each encoder, a bad one a kind and a reason."""

    file: ListedFile
    content_hash: str | None  # SHA-256 in hexadecimal; None where the file could not be read
    vectors: tuple[Float32Array, ...] = ()  # of each encoder, (dim,)
    kind: str | None = None
    reason: str | None = None
    is_final: bool = True  # whether another try must give the same

    @property
    def is_good(self) -> bool:
        """Return whether the file has vectors."""
        return self.kind is None


def to_table(rows: Sequence[FileRow], dims: Sequence[int], made: str) -> Any:
    """Return rows as a `pyarrow.Table` in the order given."""
    types = import_optional("pyarrow", "scale")
    columns: dict[str, Any] = {
        "content": types.array([bytes.fromhex(r.content_hash) if r.content_hash else None for r in rows], "binary"),
        "path": types.array([storable(row.file.path) for row in rows], "string"),
        "label": types.array([storable(row.file.label) for row in rows], "string"),
        "kind": types.array([row.kind for row in rows], "string"),
        "reason": types.array([None if row.reason is None else storable(row.reason) for row in rows], "string"),
        "is_final": types.array([row.is_final for row in rows], "bool"),
        "size": types.array([row.file.size for row in rows], "int64"),
        "modified": types.array([row.file.modified for row in rows], "int64"),
        "changed": types.array([row.file.changed for row in rows], "int64"),
    }
    is_bad = np.array([not row.is_good for row in rows], bool)
    for place, dim in enumerate(dims):
        matrix = np.zeros((len(rows), dim), np.float32)
        for number, row in enumerate(rows):
            if row.is_good:
                matrix[number] = row.vectors[place]
        flat = types.array(matrix.reshape(-1))
        columns[vector_name(place)] = types.FixedSizeListArray.from_arrays(flat, dim, mask=types.array(is_bad))
    metadata = {_MADE: made.encode(), _DIMS: " ".join(map(str, dims)).encode()}
    return types.table(columns).replace_schema_metadata(metadata)


def from_table(table: Any, source: str) -> list[FileRow]:
    """Undo `to_table`; raise OutputError, which names `source`, where columns are missing."""
    try:
        dims = [int(dim) for dim in (table.schema.metadata or {})[_DIMS].split()]
        vectors = [vectors_of(table, place) for place in range(len(dims))]
        plain = table.drop_columns([vector_name(place) for place in range(len(dims))]).to_pylist()
    except (KeyError, ValueError) as error:
        raise OutputError(f"{source} is no chunk of this program: {error}. Delete it and run again.") from None
    return [
        FileRow(
            ListedFile(row["path"], row["label"], row["size"], row["modified"], row["changed"]),
            None if row["content"] is None else row["content"].hex(),
            () if row["kind"] is not None else tuple(matrix[number] for matrix in vectors),
            row["kind"],
            row["reason"],
            row["is_final"],
        )
        for number, row in enumerate(plain)
    ]


def made_of(table: Any) -> str:
    """Return what the vectors were made with, as `made_with` wrote it."""
    return str((table.schema.metadata or {}).get(_MADE, b"").decode())


def vectors_of(table: Any, encoder: int = 0) -> Float32Array:
    """Return the vectors (n, dim) of an encoder; those of bad files are NaN."""
    column = table[vector_name(encoder)].combine_chunks()
    dim = column.type.list_size
    matrix = np.full((len(column), dim), np.nan, np.float32)
    is_good = column.is_valid().to_numpy(zero_copy_only=False)
    matrix[is_good] = column.drop_null().flatten().to_numpy().reshape(-1, dim)
    return matrix


def to_bytes(table: Any) -> bytes:
    """Return a table as a Parquet file; vectors are not compressed, since that would save nothing."""
    parquet = import_optional("pyarrow.parquet", "scale")
    stream = io.BytesIO()
    compression = {name: "NONE" if name.startswith("vector") else "ZSTD" for name in _leaves(table)}
    parquet.write_table(
        table, stream, compression=compression, use_dictionary=["label", "kind"], write_page_checksum=True
    )
    return stream.getvalue()


def from_bytes(data: bytes, source: str) -> Any:
    """Read a table from a Parquet file; raise OutputError, which names `source`, where it is damaged."""
    types, parquet = import_optional("pyarrow", "scale"), import_optional("pyarrow.parquet", "scale")
    try:
        return parquet.read_table(types.BufferReader(data), page_checksum_verification=True)
    except (types.ArrowException, OSError) as error:
        raise OutputError(f"{source} is damaged: {error}. Delete it and run the same command again.") from None


def committed(table: Any) -> Any:
    """Return the columns that a store of rows takes."""
    return table.drop_columns(["is_final", "size", "modified", "changed"]).replace_schema_metadata(None)


def vector_name(encoder: int) -> str:
    """Return the column of the vectors of an encoder, by its place."""
    return "vector" if encoder == 0 else f"vector_{encoder}"


def storable(text: str) -> str:
    """Return text that a table can hold: bytes of a name that are no Unicode text are escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def known_rows(rows: Sequence[FileRow]) -> Mapping[ListedFile, FileRow]:
    """Return the rows that need not be made again: those of files that are the same, where a try must give the same."""
    return {row.file: row for row in rows if row.is_final and max(row.file.modified, row.file.changed) > 0}


def _leaves(table: Any) -> list[str]:
    names = [field.name for field in table.schema if not field.name.startswith("vector")]
    return names + [f"{field.name}.list.element" for field in table.schema if field.name.startswith("vector")]
