"""Rows of a durable index: examples, known files and removals, and how they are read, checked and written."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.labels import normal_label
from lmm_classifier.data.places import FileStatus
from lmm_classifier.index.storage.database import checksum, decoded, encoded
from lmm_classifier.index.storage.schema import EXAMPLES, FILES, REMOVED

FROM_FOLDER, BY_HAND = "folder", "by hand"  # values of `Record.provenance`
UNKNOWN_SIZE = -1  # size of a file that was never read, because the example was imported

_REPAIR = "`lmm-classifier doctor` can repair the index."

_TICK = 2_000_000_000  # nanoseconds; the coarsest clock of a file system (FAT)


def file_stamp(status: FileStatus) -> int:
    """Return a number that changes with a file, from the times of its content and of its status; 0: read it again.

    A copy that keeps the time of the content, such as that of `cp -p`, has a new time of the status. A file that
    changed just now may change once more within one tick of the clock, so it has no stamp yet.
    """
    # `UPath` and objects of a server have one time, or none
    times = getattr(status, "st_mtime_ns", 0), getattr(status, "st_ctime_ns", 0)
    if not max(times):
        return 0
    if time.time_ns() - max(times) <= _TICK:
        return 0
    return int.from_bytes(hashlib.blake2b(repr(times).encode(), digest_size=8).digest()) >> 1


@dataclass(frozen=True, slots=True)
class Record:
    """One example: its id, its label, the content of its file, and when and how it was added.

    `provenance` is `folder` if the file lies in the folder of its label, and `by hand` if a person added or relabeled
    it. `sync` does not change the latter.
    """

    path: str
    label: str
    content_hash: str
    size: int  # bytes
    stamp: int  # `file_stamp` of its file
    added: str  # ISO 8601, UTC
    provenance: str

    def row(self) -> tuple[bytes, bytes, bytes, int, int, str, str]:
        """Return the fields as they are stored."""
        return (
            encoded(self.path),
            encoded(self.label),
            encoded(self.content_hash),
            self.size,
            self.stamp,
            self.added,
            self.provenance,
        )

    @property
    def digest(self) -> int:
        """Return a checksum of the fields on which results depend: id, label and content."""
        return digest_of(*self.row()[:3])


def provenance(path: str, label: str) -> str:
    """Return whether an example with this id has its label from its folder or by hand."""
    return FROM_FOLDER if normal_label(path.split("/", 1)[0]) == label else BY_HAND


@dataclass(frozen=True, slots=True)
class KnownFile:
    """Content of a file with this size and stamp, and the reason if it is not an example.

    `decided_by` names the limits, formats and encoder that rejected the file. If they change, it is tried again.
    """

    path: str
    size: int
    stamp: int
    content_hash: str
    decided_by: str = ""
    kind: str = ""
    reason: str = ""

    def row(self) -> tuple[bytes, int, int, bytes, str, str, bytes]:
        """Return the fields as they are stored."""
        content_hash, reason = encoded(self.content_hash), encoded(self.reason)
        return encoded(self.path), self.size, self.stamp, content_hash, self.decided_by, self.kind, reason


def digest_of(path: bytes, label: bytes, content_hash: bytes) -> int:
    """Return `Record.digest` of stored fields."""
    return checksum(path, label, content_hash)


def content_digest(content_hash: str) -> int:
    """Return a digest of a content hash in 64 bits."""
    return int.from_bytes(hashlib.blake2b(encoded(content_hash), digest_size=8).digest(), "little")


def contents_digest(hashes: Iterable[str]) -> int:
    """Return a digest of content hashes that does not depend on their order."""
    return sum(map(content_digest, hashes)) % 2**64


def read_records(connection: sqlite3.Connection, source: str) -> Iterator[Record]:
    """Read all examples, ascending by id; raise IndexFileError where a row is damaged."""
    return (_record(row, source) for row in connection.execute(f"{EXAMPLES.select} ORDER BY path"))


def find_records(connection: sqlite3.Connection, source: str, column: str, value: str) -> list[Record]:
    """Return the examples with this value in the column `path`, `hash` or `label`, ascending by id."""
    query = f"{EXAMPLES.select} WHERE {column} = ? ORDER BY path"
    return [_record(row, source) for row in connection.execute(query, (encoded(value),)).fetchall()]


def _record(stored: tuple[Any, ...], source: str) -> Record:
    *row, crc = stored
    if checksum(*row) != crc:
        name = f"the example {bytes(row[0])!r}" if isinstance(row[0], bytes) else "an example"
        raise IndexFileError(f"{source}: the row of {name} is damaged. {_REPAIR}")
    path, label, content_hash = (decoded(field, source) for field in row[:3])
    return Record(path, label, content_hash, *row[3:])


def put_records(connection: sqlite3.Connection, records: Iterable[Record]) -> None:
    """Write examples in the place of those with the same ids."""
    _write(connection, EXAMPLES.replace, (record.row() for record in records))


def read_known_files(connection: sqlite3.Connection) -> Iterator[KnownFile]:
    """Read all known files; a damaged row is skipped, since a file can be read again."""
    for *row, crc in connection.execute(FILES.select):
        if checksum(*row) == crc:
            path, size, stamp, content_hash, decided_by, kind, reason = row
            content_hash, reason = decoded(content_hash, ""), decoded(reason, "")
            yield KnownFile(decoded(path, ""), size, stamp, content_hash, decided_by, kind, reason)


def put_known_files(connection: sqlite3.Connection, files: Iterable[KnownFile]) -> None:
    """Write known files in the place of those with the same paths."""
    _write(connection, FILES.replace, (file.row() for file in files))


def read_removed(connection: sqlite3.Connection, source: str) -> dict[str, set[str]]:
    """Read the content hashes that a person removed from the index, each with the ids that it had."""
    removed: dict[str, set[str]] = {}
    for content_hash, path, crc in connection.execute(REMOVED.select):
        if checksum(content_hash, path) != crc:
            raise IndexFileError(f"{source}: the row of a removed example is damaged. {_REPAIR}")
        removed.setdefault(decoded(content_hash, source), set()).add(decoded(path, source))
    return removed


def put_removed(connection: sqlite3.Connection, removed: Iterable[tuple[str, str]]) -> None:
    """Write pairs of content hash and id that `sync` must not add again."""
    _write(connection, REMOVED.replace, ((encoded(content_hash), encoded(path)) for content_hash, path in removed))


def _write(connection: sqlite3.Connection, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
    connection.executemany(statement, ((*row, checksum(*row)) for row in rows))
