"""Arrays under names as a small dataset of lance, so that they need no other access to the store than the rows do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

import numpy as np

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.backends.lance_table.datasets import Location, arrow, translated
from lmm_classifier.index.contents import Array
from lmm_classifier.index.storage.arrays import read_array, read_header, write_array

_PIECE = 1 << 24  # bytes of an array in one row of the dataset


def put_arrays(location: Location, arrays: Mapping[str, Array], former: int | None = None) -> int:
    """Store arrays as a new version, and return its number.

    Args:
        location: of the dataset.
        arrays: of plain numbers or texts.
        former: the version that they replace; 0: there is none. None: whichever there is.

    Raises:
        IndexFileError: it cannot be stored, or `former` is not the newest version any more.
    """
    types = arrow()
    schema = types.schema([("name", types.string()), ("part", types.int32()), ("data", types.large_binary())])
    rows = [piece for name in sorted(arrays) for piece in _pieces(name, arrays[name])]
    columns = [types.array(column, field.type) for column, field in zip(zip(*rows), schema)] if rows else None
    table = schema.empty_table() if columns is None else types.table(columns, schema=schema)
    there = location.open_if_there()
    if former is not None and (0 if there is None else there.version) != former:
        raise IndexFileError(f"{location} has been changed since. Nothing was changed.")
    if there is None:
        location.create(schema.empty_table())
        there = location.open()
    fragments = location.write_fragments(table, schema) if rows else []
    return int(location.overwrite(schema, fragments, there.version).version)


def get_arrays(location: Location, version: int | None = None) -> dict[str, Array]:
    """Return the arrays of a version, by default the newest; raise IndexFileError where they are damaged."""
    return arrays_of(location.open(version), str(location))


def arrays_of(dataset: Any, source: str) -> dict[str, Array]:
    """Return the arrays of an opened version."""
    with translated(source):
        rows = dataset.to_table(columns=["name", "part", "data"]).to_pylist()
    pieces: dict[str, dict[int, bytes]] = {}
    for row in rows:
        pieces.setdefault(row["name"], {})[row["part"]] = row["data"]
    arrays = {}
    for name, parts in pieces.items():
        if sorted(parts) != list(range(len(parts))):
            raise IndexFileError(f"{source}: the array {name!r} is incomplete.")
        data = b"".join(parts[number] for number in range(len(parts)))
        stream, entry = BytesIO(data), f"{source}:{name}"
        arrays[name] = read_array(stream, read_header(stream, len(data), entry), entry)
    return arrays


def _pieces(name: str, array: Array) -> Iterator[tuple[str, int, bytes]]:
    """Yield the name, number and bytes of each piece of the `.npy` of an array."""
    values, stream = np.atleast_1d(array), BytesIO()
    write_array(stream, [values], values.shape, values.dtype)
    data = stream.getbuffer()
    for number, start in enumerate(range(0, len(data), _PIECE)):
        yield name, number, bytes(data[start : start + _PIECE])
