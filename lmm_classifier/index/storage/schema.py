"""Tables of the database of a durable index, described once for creating, reading, writing and repairing them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_BLOB, _TEXT, _INTEGER = "BLOB NOT NULL", "TEXT NOT NULL", "INTEGER NOT NULL"


@dataclass(frozen=True)
class TableSchema:
    """Columns of one table; the last one, `crc`, is the checksum of the others (see `database.checksum`)."""

    name: str
    columns: Mapping[str, str]  # name -> SQL type
    key: str  # column that names a row
    constraint: str = ""
    numbered: bool = False  # whether `key` is a number that SQLite gives to each row, not covered by the checksum
    indexed: tuple[str, ...] = ()  # columns by which single rows are found

    @property
    def column_names(self) -> str:
        """Return the columns, separated by commas."""
        return ", ".join(self.columns)

    @property
    def create(self) -> str:
        """Return the statement that creates the table."""
        parts = [f"{name} {sql_type}" for name, sql_type in self.columns.items()]
        parts = [f"{self.key} INTEGER PRIMARY KEY"] * self.numbered + parts + [self.constraint] * bool(self.constraint)
        return f"CREATE TABLE {self.name} ({', '.join(parts)}){'' if self.numbered else ' WITHOUT ROWID'}"

    @property
    def statements(self) -> list[str]:
        """Return the statements that create the table and its indexes."""
        indexes = [f"CREATE INDEX {self.name}_by_{column} ON {self.name} ({column})" for column in self.indexed]
        return [self.create, *indexes]

    @property
    def select(self) -> str:
        """Return the statement that reads all rows."""
        return f"SELECT {self.column_names} FROM {self.name}"

    @property
    def replace(self) -> str:
        """Return the statement that writes a row in the place of the one with the same key."""
        return f"INSERT OR REPLACE {self._values}"

    @property
    def add(self) -> str:
        """Return the statement that writes a row unless there is one with the same key."""
        return f"INSERT OR IGNORE {self._values}"

    @property
    def _values(self) -> str:
        return f"INTO {self.name} ({self.column_names}) VALUES ({', '.join('?' for _ in self.columns)})"


META = TableSchema("meta", {"name": "TEXT PRIMARY KEY", "value": _BLOB, "crc": _INTEGER}, "name")
EXAMPLES = TableSchema(
    "examples",
    {
        "path": "BLOB PRIMARY KEY",
        "label": _BLOB,
        "hash": _BLOB,
        "size": _INTEGER,
        "stamp": _INTEGER,
        "added": _TEXT,
        "provenance": _TEXT,
        "crc": _INTEGER,
    },
    "path",
    indexed=("hash", "label"),  # so that an edit reads no more rows than it changes
)
# for each label the number of its examples and the sum of their `content_digest`
LABELS = TableSchema(
    "labels", {"label": "BLOB PRIMARY KEY", "count": _INTEGER, "contents": _TEXT, "crc": _INTEGER}, "label"
)
VECTORS = TableSchema(
    "vectors",
    {"encoder": _TEXT, "hash": _BLOB, "vector": _BLOB, "crc": _INTEGER},
    "key",
    "UNIQUE (encoder, hash)",
    numbered=True,
)
FILES = TableSchema(
    "files",
    {
        "path": "BLOB PRIMARY KEY",
        "size": _INTEGER,
        "stamp": _INTEGER,
        "hash": _BLOB,
        "decided_by": _TEXT,
        "kind": _TEXT,
        "reason": _BLOB,
        "crc": _INTEGER,
    },
    "path",
)
REMOVED = TableSchema("removed", {"hash": _BLOB, "path": _BLOB, "crc": _INTEGER}, "hash", "PRIMARY KEY (hash, path)")
DISMISSALS = TableSchema(
    "dismissals", {"id": "TEXT PRIMARY KEY", "finding": _TEXT, "examples": _TEXT, "time": _TEXT, "crc": _INTEGER}, "id"
)
EDITS = TableSchema(
    "edits",
    {
        "id": "INTEGER PRIMARY KEY",
        "time": _TEXT,
        "kind": _TEXT,
        "origin": _BLOB,
        "note": _BLOB,
        "images": _INTEGER,
        "changed": _INTEGER,
        "roots": _TEXT,
        "undoes": _INTEGER,
        "undone_by": _INTEGER,
        "crc": _INTEGER,
    },
    "id",
)
# rows before and after each edit
JOURNAL = TableSchema(
    "journal",
    {
        "edit": _INTEGER,
        "number": _INTEGER,
        "after": _INTEGER,
        "kind": _TEXT,
        "path": _BLOB,
        "hash": _BLOB,
        "fields": _TEXT,
        "crc": _INTEGER,
    },
    "edit",
    "PRIMARY KEY (edit, number)",
)
TABLES = (META, EXAMPLES, LABELS, VECTORS, FILES, REMOVED, DISMISSALS, EDITS, JOURNAL)
