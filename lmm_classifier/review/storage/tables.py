"""Tables of the database of runs, described once for creating, reading and writing them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmm_classifier.core.errors import ReviewError
from lmm_classifier.index.storage.database import checksum

_BLOB, _TEXT, _INTEGER = "BLOB NOT NULL", "TEXT NOT NULL", "INTEGER NOT NULL"


@dataclass(frozen=True)
class Table:
    """A table whose last column, `crc`, is the checksum of the others; SQLite itself has none of its pages."""

    name: str
    columns: Mapping[str, str]  # name -> SQL type
    key: str = ""  # primary key; empty: SQLite numbers the rows by `id`, and never gives a number twice
    unique: str = ""

    @property
    def names(self) -> str:
        """Return the columns, separated by commas, the checksum last."""
        return ", ".join([*(() if self.key else ("id",)), *self.columns, "crc"])

    @property
    def create(self) -> str:
        """Return the statement that creates the table."""
        parts = [] if self.key else ["id INTEGER PRIMARY KEY AUTOINCREMENT"]
        parts += [f"{name} {kind}" for name, kind in self.columns.items()] + [f"crc {_INTEGER}"]
        parts += [f"PRIMARY KEY ({self.key})"] * bool(self.key) + [f"UNIQUE ({self.unique})"] * bool(self.unique)
        return f"CREATE TABLE {self.name} ({', '.join(parts)}){' WITHOUT ROWID' if self.key else ''}"

    def put(self, connection: sqlite3.Connection, row: Sequence[object]) -> int:
        """Write a row in the place of the one with the same key; return its number, where SQLite numbers the rows."""
        statement, values, number = "INSERT OR REPLACE" if self.key else "INSERT", tuple(row), 0
        if not self.key:  # its checksum covers the number, so it must be known before
            last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (self.name,)).fetchone()
            number = int(last[0]) + 1 if last else 1
            values = (number, *row)
        marks = ", ".join("?" for _ in (*values, "crc"))
        connection.execute(
            f"{statement} INTO {self.name} ({self.names}) VALUES ({marks})", (*values, checksum(*values))
        )
        return number

    def replace(self, connection: sqlite3.Connection, number: int, row: Sequence[object]) -> None:
        """Write other values into the row of a number."""
        changes = ", ".join(f"{name} = ?" for name in (*self.columns, "crc"))
        connection.execute(f"UPDATE {self.name} SET {changes} WHERE id = ?", (*row, checksum(number, *row), number))

    def rows(
        self, connection: sqlite3.Connection, where: str = "", values: Sequence[object] = ()
    ) -> Iterator[tuple[Any, ...]]:
        """Yield rows without their checksums, the number first where SQLite numbers them; a damaged one raises."""
        for row in connection.execute(f"SELECT {self.names} FROM {self.name} {where}", values):
            if checksum(*row[:-1]) != row[-1]:
                raise self.damaged
            yield row[:-1]

    @property
    def damaged(self) -> ReviewError:
        """Return the error for a row that is damaged or missing."""
        advice = "Delete the run, and classify the images again."
        return ReviewError(f"A row of the table {self.name} of runs is damaged. {advice}")


RUNS = Table("runs", {"source": _BLOB, "created": _TEXT, "state": _TEXT, "total": _INTEGER})  # total -1: not known
ITEMS = Table("items", {"run": _INTEGER, "name": _BLOB, "hash": _BLOB}, unique="run, name, hash")
RESULTS = Table(
    "results",
    {"item": _INTEGER, "version": _INTEGER, "reason": _TEXT, "label": _BLOB, "result": _BLOB},
    key="item",
)
VECTORS = Table("vectors", {"item": _INTEGER, "encoder": _TEXT, "vector": _BLOB}, key="item, encoder")
# only of items that a person decided, or took out of a group
DECISIONS = Table(
    "decisions", {"item": _INTEGER, "kind": _TEXT, "label": _BLOB, "apart": _INTEGER, "answer": _INTEGER}, key="item"
)
ANSWERS = Table("answers", {"run": _INTEGER, "time": _TEXT, "state": _TEXT, "answer": _BLOB})
ORDERS = Table("orders", {"run": _INTEGER, "groups": _BLOB})
DRIFT = Table("drift", {"run": _INTEGER, "lines": _BLOB})  # a batch of a run, as `discovery.drift.drift_log` writes it
# what the drift test of a run says after its last batch, and whether there ever was an alarm
DRIFT_REPORTS = Table(
    "drift_reports", {"run": _INTEGER, "batch": _INTEGER, "alarm": _INTEGER, "report": _BLOB}, key="run"
)
TABLES = (RUNS, ITEMS, RESULTS, VECTORS, DECISIONS, ANSWERS, ORDERS, DRIFT, DRIFT_REPORTS)
# the newest change of each item: a reader asks for those after the last number that it has seen
CHANGES = "CREATE TABLE changes (number INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL, item INTEGER UNIQUE)"
BY_RUN = "CREATE INDEX changes_of_run ON changes (run, number)"
DRIFT_BY_RUN = "CREATE INDEX drift_of_run ON drift (run, id)"
STATEMENTS = (*(table.create for table in TABLES), CHANGES, BY_RUN, DRIFT_BY_RUN)
