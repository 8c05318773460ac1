"""What the database of a durable index says of itself, and the values in it: its state, vectors and arrays."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.protocols import FloatArray
from lmm_classifier.index.contents import Array
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.storage import database
from lmm_classifier.index.storage.arrays import read_array, read_header, write_array
from lmm_classifier.index.storage.npz import CALIBRATION, SPACE
from lmm_classifier.index.storage.snapshot import Stamp

STATE, STATE_COPY, BUILD = "state", "state.copy", "build"  # names of entries; the first is the dearest, so kept twice


@dataclass(frozen=True)
class State:
    """What the database says of itself; one entry, so that it changes as a whole."""

    index: str  # a random name, to tell whose a derived file is
    version: int
    digest: int  # sum of `Record.digest` of all examples, modulo 2^64: changes with each, whatever the order
    contents: int  # the same of their contents alone
    space: int  # checksum of the space
    space_contents: int  # `contents` of when the space was fitted
    dtype: str  # number type in which vectors are kept
    manifest: Mapping[str, Any]

    @property
    def stamp(self) -> Stamp:
        """What a derived file of this version carries."""
        return Stamp(self.index, self.version, self.digest, self.space)

    def to_json(self) -> bytes:
        """One JSON object."""
        return json.dumps(asdict(self)).encode("ascii")

    @classmethod
    def read(cls, connection: sqlite3.Connection, source: str) -> State | None:
        """The state of the database, None where its first build did not end."""
        try:
            value = database.get_meta(connection, STATE, source) or database.get_meta(connection, STATE_COPY, source)
        except IndexFileError:
            value = database.get_meta(connection, STATE_COPY, source)
        if value is None:
            return None
        try:
            return cls(**database.as_json(value, source))
        except TypeError as error:
            raise IndexFileError(f"{source}: its state is damaged: {error}") from None

    def checked_manifest(self, source: str) -> Manifest:
        """The manifest; raises IndexFileError if it is not one."""
        return Manifest.from_json(json.dumps(self.manifest), source)

    def vectors(self, connection: sqlite3.Connection, source: str) -> Vectors:
        """The vectors of the encoder of this index."""
        fingerprint = self.checked_manifest(source).fingerprint
        if self.dtype not in ("float32", "float16"):
            raise IndexFileError(f"{source}: vectors of {self.dtype!r}, expected float32 or float16")
        return Vectors(connection, fingerprint.space_id, fingerprint.dim, np.dtype(self.dtype), source)


def put_state(connection: sqlite3.Connection, state: State) -> None:
    """Keep the state, twice."""
    for name in (STATE, STATE_COPY):
        database.set_meta(connection, name, state.to_json())


@dataclass(frozen=True)
class Vectors:
    """The vectors of one encoder in a database, by the content of their pictures."""

    connection: sqlite3.Connection
    encoder: str  # Fingerprint.space_id
    dim: int
    dtype: np.dtype[Any]
    source: str

    def of(self, hashes: Sequence[str]) -> FloatArray:
        """Vectors (n, dim) as unit rows in float32; raises IndexFileError where one is missing or damaged."""
        return as_units(self.kept(hashes))

    def kept(self, hashes: Sequence[str]) -> Array:
        """Vectors (n, dim) in the number type in which they are kept; raises the same."""
        rows = np.empty((len(hashes), self.dim), self.dtype)
        for number, content in enumerate(hashes):
            key = database.encoded(content)
            found = self.connection.execute(
                "SELECT vector, crc FROM vectors WHERE encoder = ? AND hash = ?", (self.encoder, key)
            ).fetchone()
            if found is None or not self._is_sound(key, *found):
                raise IndexFileError(
                    f"{self.source}: the vector of the content {content[:16]} is "
                    f"{'missing' if found is None else 'damaged'}; `lmm-classifier doctor {self.source}` mends what it "
                    "can"
                )
            rows[number] = np.frombuffer(found[0], self.dtype)
        return rows

    def _is_sound(self, key: bytes, data: object, crc: object) -> bool:
        whole = isinstance(data, bytes) and len(data) == self.dim * self.dtype.itemsize
        return whole and database.checksum(self.encoder, key, data) == crc


def as_units(rows: Array) -> FloatArray:
    """Rows in float32; those kept in half precision are brought back to the unit sphere, off which rounding moved."""
    found = rows.astype(np.float32)
    if rows.dtype == np.float16:
        found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def read_arrays(connection: sqlite3.Connection, source: str) -> dict[str, Array]:
    """All arrays of the space and the calibration, by name."""
    found = {}
    for name, value in database.all_meta(connection, source).items():
        if name.startswith((SPACE, CALIBRATION)):
            stream, where = BytesIO(value), f"{source}:{name}"
            found[name] = read_array(stream, read_header(stream, len(value), where), where)
    return found


def put_arrays(connection: sqlite3.Connection, prefix: str, state: Mapping[str, NDArray[Any]]) -> int:
    """Keep arrays in the place of all others of that prefix; returns their checksum."""
    connection.execute("DELETE FROM meta WHERE substr(name, 1, ?) = ?", (len(prefix), prefix))
    crc = 0
    for name in sorted(state):
        array, stream = np.atleast_1d(state[name]), BytesIO()
        write_array(stream, [array], array.shape, array.dtype)
        database.set_meta(connection, prefix + name, stream.getvalue())
        crc = database.checksum(crc, name, stream.getvalue())
    return crc
