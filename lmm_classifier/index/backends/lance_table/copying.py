"""A whole index into a table, and a whole table back: the same examples, the same bits of each vector."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.backends.lance_table.about import Extras
from lmm_classifier.index.backends.lance_table.calibrations import put_calibration
from lmm_classifier.index.backends.lance_table.columns import contents_column, vectors_column
from lmm_classifier.index.backends.lance_table.datasets import arrow
from lmm_classifier.index.backends.lance_table.finishing import finished
from lmm_classifier.index.backends.lance_table.layout import vector_column
from lmm_classifier.index.backends.lance_table.sorting import BUCKET_BYTES
from lmm_classifier.index.backends.lance_table.table import LanceTable
from lmm_classifier.index.contents import Array, IndexContents

_ROWS = 4096  # in a chunk


def chunk_of(
    paths: Sequence[str], labels: Sequence[str], contents: Sequence[str], vectors: Sequence[Float32Array], source: str
) -> Any:
    """Return a chunk for `LanceTable.commit` of n good images.

    Args:
        paths: n ids.
        labels: n labels.
        contents: n SHA-256 in hexadecimal.
        vectors: (n, dim) of each encoder.
        source: of the images, for messages.

    Raises:
        IndexFileError: an id is no Unicode text, or a content no SHA-256.
    """
    types, texts = arrow(), {"path": paths, "label": labels}
    columns: dict[str, Any] = {"content": contents_column(contents, source)}
    for name, values in texts.items():
        try:
            columns[name] = types.array(list(values), types.string())
        except UnicodeEncodeError as error:
            raise IndexFileError(
                f"{source}: the {name} {error.object!r} is not Unicode text, which a table needs. Rename the file."
            ) from None
    none = types.nulls(len(paths), types.string())
    columns |= {"kind": none, "reason": none}
    columns |= {vector_column(place): vectors_column(rows) for place, rows in enumerate(vectors)}
    return types.table(columns)


def require_no_table(url: str) -> None:
    """Raise IndexFileError where there is a finished table."""
    if finished(url) is not None:
        raise IndexFileError(f"{url} holds an index already, and nothing was changed. Choose another output.")


def write_table(url: str, contents: IndexContents, bucket_bytes: int = BUCKET_BYTES) -> None:
    """Write an index as a new table; one that was interrupted is resumed. A finished table is never overwritten.

    `bucket_bytes` are those of `LanceTable.finish`.

    Raises:
        IndexFileError: there is a finished table, or an id or content cannot be in one.
    """
    require_no_table(url)
    if len(set(contents.paths)) < len(contents.paths):
        raise IndexFileError("Two examples of the index have the same id, so it is not a sound index.")
    table = LanceTable.create(url, contents.manifest)
    names = []
    for rows in _parts(contents):
        digest = hashlib.sha256("\0".join((*rows[0], *rows[1], *rows[2])).encode("utf-8", "surrogatepass"))
        for vectors in rows[3]:
            digest.update(vectors.tobytes())
        names.append(digest.hexdigest()[:32])
        table.commit({names[-1]: chunk_of(*rows, url)})
    table.finish(
        names,
        extras=Extras(
            transforms=[vectors.transform_arrays for vectors in contents.vectors],
            dtype=np.dtype(contents.dtype).name,
            dismissals=contents.dismissals,
            milliseconds=contents.milliseconds,
            groups=contents.groups,
            transforms_are_current=contents.transforms_are_current,
        ),
        bucket_bytes=bucket_bytes,
    )
    if contents.calibration:
        put_calibration(url, contents.calibration)


_Part = tuple[Sequence[str], Sequence[str], Sequence[str], list[Float32Array]]


def _parts(contents: IndexContents) -> Iterator[_Part]:
    """Yield the examples with their vectors of each encoder, some thousand at a time."""
    readers = [_RowReader(vectors.blocks()) for vectors in contents.vectors]
    for start in range(0, contents.manifest.count, _ROWS):
        end = min(start + _ROWS, contents.manifest.count)
        part = slice(start, end)
        vectors = [reader.take(end - start) for reader in readers]
        yield list(contents.paths[part]), list(contents.labels[part]), list(contents.hashes[part]), vectors


class _RowReader:
    """Takes any number of rows from blocks of other sizes."""

    def __init__(self, blocks: Iterable[Array]) -> None:
        self._blocks = iter(blocks)
        self._rest: list[Float32Array] = []

    def take(self, count: int) -> Float32Array:
        """Return the next rows (count, dim)."""
        while sum(map(len, self._rest)) < count:
            self._rest.append(np.asarray(next(self._blocks), np.float32))
        rows = np.concatenate(self._rest)
        self._rest = [rows[count:]]
        return rows[:count]
