"""State, vectors and arrays in the database of a durable index."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Arrays, Float32Array
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.protocols import Transform
from lmm_classifier.index.contents import Array
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.staleness import transforms_digest
from lmm_classifier.index.storage import database
from lmm_classifier.index.storage.arrays import read_array, read_header, write_array
from lmm_classifier.index.storage.snapshot import Stamp

TRANSFORM, CALIBRATION, GROUPS = (
    "transform",
    "calibration",
    "groups",
)  # prefixes of the names of their arrays, followed by a dot
CALIBRATED = "calibrated"  # entry with the `FittedTo` of the calibration
TIMES = "times"  # entry with the time that each encoder took
STATE, STATE_COPY, BUILD = "state", "state.copy", "build"  # names of entries; the state matters most: stored twice


@dataclass(frozen=True)
class State:
    """Version, digests and manifest of a durable index; one entry, so that it changes as a whole."""

    index: str  # random name that tells which index a derived file belongs to
    version: int
    digest: int  # sum of `Record.digest` of all examples, modulo 2^64: independent of their order
    contents: int  # sum of `content_digest` of all examples, modulo 2^64
    groups: int  # `groups_digest` of their labels
    transforms: Sequence[int]  # for each encoder a checksum of it and of its transform
    vectors_digest: str  # `transforms_digest` of all encoders
    transform_hashes: int  # value of `contents` when the transforms were fitted
    edits: int  # id of the last edit; none is given twice
    dtype: str  # number type of the stored vectors
    manifest: Mapping[str, Any]

    @classmethod
    def empty(cls, dtype: str) -> State:
        """Return the state of an index before its first build is finished."""
        return cls(uuid.uuid4().hex, 0, 0, 0, 0, (), "", 0, 0, dtype, {})

    @property
    def stamp(self) -> Stamp:
        """Return the stamp of derived files of this version."""
        return Stamp(self.index, self.version, self.digest, self.edits, tuple(self.transforms))

    def to_json(self) -> bytes:
        """Return one JSON object."""
        return json.dumps(asdict(self)).encode("ascii")

    @classmethod
    def read(cls, connection: sqlite3.Connection, source: str) -> State | None:
        """Read the state; return None if the first build did not finish."""
        try:
            value = database.get_meta(connection, STATE, source) or database.get_meta(connection, STATE_COPY, source)
        except IndexFileError:
            value = database.get_meta(connection, STATE_COPY, source)
        if value is None:
            return None
        try:
            return cls(**database.as_json(value, source))
        except TypeError as error:
            raise IndexFileError(f"{source}: the state of the index is damaged: {error}") from None

    def checked_manifest(self, source: str) -> Manifest:
        """Return the manifest; raise IndexFileError if it is damaged."""
        return Manifest.from_json(json.dumps(self.manifest), source)

    def vectors(self, connection: sqlite3.Connection, source: str) -> list[Vectors]:
        """Return the vectors of each encoder of this index."""
        if self.dtype not in ("float32", "float16"):
            raise IndexFileError(f"{source}: vectors of {self.dtype!r}, expected float32 or float16.")
        return [
            Vectors(connection, fingerprint.space_id, fingerprint.dim, np.dtype(self.dtype), source)
            for fingerprint in self.checked_manifest(source).fingerprints
        ]


def put_state(connection: sqlite3.Connection, state: State) -> None:
    """Store the state twice."""
    for name in (STATE, STATE_COPY):
        database.set_meta(connection, name, state.to_json())


@dataclass(frozen=True)
class Vectors:
    """The vectors of one encoder in a database, by the content hash of their images."""

    connection: sqlite3.Connection
    encoder: str  # Fingerprint.space_id
    dim: int
    dtype: np.dtype[Any]
    source: str

    def embeddings(self, hashes: Sequence[str]) -> Float32Array:
        """Return normalized vectors (n, dim) in float32; raise IndexFileError if one is missing or damaged."""
        return as_embeddings(self.stored(hashes))

    def stored(self, hashes: Sequence[str]) -> Array:
        """Return vectors (n, dim) in the number type in which they are stored; raise the same."""
        rows = np.empty((len(hashes), self.dim), self.dtype)
        for number, content_hash in enumerate(hashes):
            key = database.encoded(content_hash)
            entry = self.connection.execute(
                "SELECT vector, crc FROM vectors WHERE encoder = ? AND hash = ?", (self.encoder, key)
            ).fetchone()
            if entry is None or not self._is_sound(key, *entry):
                raise IndexFileError(
                    f"{self.source}: the vector of the content {content_hash[:16]} is "
                    f"{'missing' if entry is None else 'damaged'}. `lmm-classifier doctor {self.source}` can repair "
                    "the index."
                )
            rows[number] = np.frombuffer(entry[0], self.dtype)
        return rows

    def _is_sound(self, key: bytes, data: object, crc: object) -> bool:
        complete = isinstance(data, bytes) and len(data) == self.dim * self.dtype.itemsize
        return complete and database.checksum(self.encoder, key, data) == crc


def as_embeddings(rows: Array) -> Float32Array:
    """Return rows in float32; those stored in half precision are normalized again, because rounding changed them."""
    embeddings = rows.astype(np.float32)
    if rows.dtype == np.float16:
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings


def transform_prefix(encoder: int) -> str:
    """Return the prefix of the arrays of the transform of an encoder, named by its place in the manifest."""
    return f"{TRANSFORM}.{encoder}"


def put_transforms(
    connection: sqlite3.Connection, transforms: Sequence[Transform], manifest: Manifest
) -> tuple[list[int], str]:
    """Store the transform of each encoder in the place of all former ones; return their checksums and their digest."""
    drop_arrays(connection, TRANSFORM)
    named = [
        (space, transform.name, transform.to_arrays())
        for transform, space in zip(transforms, manifest.space_ids, strict=True)
    ]
    crcs = [
        database.checksum(put_arrays(connection, transform_prefix(place), arrays), name, space)
        for place, (space, name, arrays) in enumerate(named)
    ]
    return crcs, transforms_digest(named)


def read_arrays(connection: sqlite3.Connection, source: str, prefix: str) -> dict[str, Array]:
    """Read the arrays of a transform or the calibration by name; nothing where none are stored.

    Raises IndexFileError unless they are the arrays that were written together. A row that vanished is damage too.
    """
    entries, start = database.all_meta(connection, source), f"{prefix}."
    stored = {name.removeprefix(start): value for name, value in entries.items() if name.startswith(start)}
    if entries.get(prefix, b"") != _digest_entry(stored):
        raise IndexFileError(
            f"{source}: the {prefix} is incomplete. `lmm-classifier doctor {source}` can repair the index."
        )
    arrays = {}
    for name, value in stored.items():
        stream, entry = BytesIO(value), f"{source}:{start}{name}"
        arrays[name] = read_array(stream, read_header(stream, len(value), entry), entry)
    return arrays


def put_arrays(connection: sqlite3.Connection, prefix: str, arrays: Arrays) -> int:
    """Store arrays in the place of all former ones with that prefix; return their checksum."""
    drop_arrays(connection, prefix)
    stored = {}
    for name in sorted(arrays):
        array, stream = np.atleast_1d(arrays[name]), BytesIO()
        write_array(stream, [array], array.shape, array.dtype)
        stored[name] = stream.getvalue()
        database.set_meta(connection, f"{prefix}.{name}", stored[name])
    if stored:
        database.set_meta(connection, prefix, _digest_entry(stored))
    return database.checksum(_digest_entry(stored))


def groups_to_arrays(groups: Mapping[str, str]) -> dict[str, Array]:
    """Return the groups of examples as bytes: an array of texts would be as wide as the longest."""
    return {"by_id": np.frombuffer(json.dumps(groups).encode("ascii"), np.uint8)} if groups else {}


def groups_from_arrays(arrays: Arrays, source: str) -> dict[str, str]:
    """Return the group of each example that has one; raise IndexFileError where the arrays hold something else."""
    if not arrays:
        return {}
    try:
        groups = json.loads(np.asarray(arrays["by_id"], np.uint8).tobytes())
    except (KeyError, ValueError, RecursionError) as error:
        raise IndexFileError(f"{source}: the groups of the examples are damaged: {error}.") from None
    if not isinstance(groups, dict) or not all(isinstance(name, str) for name in groups.values()):
        raise IndexFileError(f"{source}: the groups of the examples are damaged: expected a name for each.")
    return groups


def read_groups(connection: sqlite3.Connection, source: str) -> dict[str, str]:
    """Read the groups of examples by their ids."""
    return groups_from_arrays(read_arrays(connection, source, GROUPS), source)


def drop_arrays(connection: sqlite3.Connection, prefix: str) -> None:
    """Remove all arrays with that prefix."""
    start = f"{prefix}."
    connection.execute("DELETE FROM meta WHERE name = ? OR substr(name, 1, ?) = ?", (prefix, len(start), start))


def _digest_entry(stored: Mapping[str, bytes]) -> bytes:
    """Return the entry that is stored with arrays: a digest of all names and bytes; nothing where there are none."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(stored):
        digest.update(f"{name} {len(stored[name])} ".encode() + stored[name])
    return digest.hexdigest().encode() if stored else b""
