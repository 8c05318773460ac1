"""The rows of a durable index: examples, what was seen of files, and how they are read and checked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.storage.database import checksum, decoded, encoded

CORPUS, BY_HAND = "corpus", "by hand"  # how an example, or its label, came into the index
UNKNOWN_SIZE = -1  # of a file that was never looked at: the example came with an import


@dataclass(frozen=True, slots=True)
class Record:
    """One example: its id, its label, the content of its file, and when and how it was added.

    `how` is `corpus` where it lies in the corpus folder under its label, `by hand` where a person added or relabelled
    it: those are left alone by `sync`.
    """

    path: str
    label: str
    content_hash: str
    size: int  # bytes
    mtime_ns: int  # nanoseconds since 1970
    added: str  # ISO 8601, UTC
    how: str

    def row(self) -> tuple[bytes, bytes, bytes, int, int, str, str]:
        """The fields as they are kept."""
        return (
            encoded(self.path),
            encoded(self.label),
            encoded(self.content_hash),
            self.size,
            self.mtime_ns,
            self.added,
            self.how,
        )

    @property
    def digest(self) -> int:
        """A checksum of what an answer depends on: the id, the label and the content."""
        return digest_of(*self.row()[:3])


def how(path: str, label: str) -> str:
    """How an example of this id came by this label: from its folder, or by hand."""
    return CORPUS if path.split("/", 1)[0] == label else BY_HAND


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found of a file of this size and time: its content, and why it is no example, if so.

    `judge` names what refused it: with other limits, formats or another encoder it is tried again.
    """

    path: str
    size: int
    mtime_ns: int
    content_hash: str
    judge: str = ""
    kind: str = ""
    reason: str = ""

    def row(self) -> tuple[bytes, int, int, bytes, str, str, bytes]:
        """The fields as they are kept."""
        content, reason = encoded(self.content_hash), encoded(self.reason)
        return encoded(self.path), self.size, self.mtime_ns, content, self.judge, self.kind, reason


def digest_of(path: bytes, label: bytes, content: bytes) -> int:
    """`Record.digest` of fields as they are kept."""
    return checksum(path, label, content)


def contents_digest(hashes: Iterable[str]) -> int:
    """A checksum of contents, whatever their order."""
    return sum(checksum(encoded(content)) for content in hashes) % 2**64


def read_records(connection: sqlite3.Connection, source: str) -> Iterator[Record]:
    """All examples, ascending by id; raises IndexFileError where a row is not as it was written."""
    columns = "path, label, hash, size, mtime_ns, added, how, crc"
    for *row, crc in connection.execute(f"SELECT {columns} FROM examples ORDER BY path"):
        if checksum(*row) != crc:
            which = f"the example {bytes(row[0])!r}" if isinstance(row[0], bytes) else "an example"
            raise IndexFileError(
                f"{source}: the row of {which} is damaged; `lmm-classifier doctor` says how to mend it"
            )
        path, label, content = (decoded(one, source) for one in row[:3])
        yield Record(path, label, content, *row[3:])


def put_records(connection: sqlite3.Connection, records: Iterable[Record]) -> None:
    """Write examples, in the place of those with the same ids."""
    rows = ((*row, checksum(*row)) for row in (record.row() for record in records))
    connection.executemany("INSERT OR REPLACE INTO examples VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def read_seen(connection: sqlite3.Connection) -> Iterator[Seen]:
    """What was seen of files; a damaged row is passed over, since a file can be looked at again."""
    for *row, crc in connection.execute("SELECT * FROM files"):
        if checksum(*row) == crc:
            path, size, mtime_ns, content, judge, kind, reason = row
            yield Seen(decoded(path, ""), size, mtime_ns, decoded(content, ""), judge, kind, decoded(reason, ""))


def put_seen(connection: sqlite3.Connection, seen: Iterable[Seen]) -> None:
    """Remember what was found of files."""
    rows = ((*row, checksum(*row)) for row in (one.row() for one in seen))
    connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def read_removed(connection: sqlite3.Connection, source: str) -> dict[str, set[str]]:
    """Contents that a person took out of the index, with the ids each had."""
    found: dict[str, set[str]] = {}
    for content, path, crc in connection.execute("SELECT hash, path, crc FROM removed"):
        if checksum(content, path) != crc:
            raise IndexFileError(f"{source}: a removal is damaged; `lmm-classifier doctor` says how to mend it")
        found.setdefault(decoded(content, source), set()).add(decoded(path, source))
    return found


def put_removed(connection: sqlite3.Connection, removed: Iterable[tuple[str, str]]) -> None:
    """Remember contents, with the id each had, that are not to come back by themselves."""
    rows = ((encoded(content), encoded(path)) for content, path in removed)
    checked = ((*row, checksum(*row)) for row in rows)
    connection.executemany("INSERT OR REPLACE INTO removed VALUES (?, ?, ?)", checked)
