"""The table of dismissed findings. Images are named by their content, so that a sync and a new name change nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.dismissals import Dismissal
from lmm_classifier.index.storage.database import checksum
from lmm_classifier.index.storage.schema import DISMISSALS


def read_dismissals(connection: sqlite3.Connection, source: str) -> list[Dismissal]:
    """Return all dismissals, the oldest first; raise IndexFileError where a row is damaged."""
    rows = connection.execute(f"{DISMISSALS.select} ORDER BY time, id")
    return [_dismissal(row, source) for row in rows]


def find_dismissal(connection: sqlite3.Connection, source: str, number: str) -> Dismissal | None:
    """Return the dismissal with this id, None where there is none."""
    row = connection.execute(f"{DISMISSALS.select} WHERE id = ?", (number,)).fetchone()
    return None if row is None else _dismissal(row, source)


def put_dismissals(connection: sqlite3.Connection, dismissals: Iterable[Dismissal]) -> None:
    """Write dismissals in the place of those of the same findings."""
    rows = [(d.id, d.finding, json.dumps(d.examples), d.time) for d in dismissals]
    connection.executemany(DISMISSALS.replace, [(*row, checksum(*row)) for row in rows])


def drop_dismissals(connection: sqlite3.Connection, dismissals: Iterable[Dismissal]) -> None:
    """Delete dismissals."""
    connection.executemany("DELETE FROM dismissals WHERE id = ?", [(dismissal.id,) for dismissal in dismissals])


def _dismissal(stored: tuple[Any, ...], source: str) -> Dismissal:
    *row, crc = stored
    if checksum(*row) != crc:
        raise IndexFileError(f"{source}: the row of a dismissal is damaged. `lmm-classifier doctor` can repair it.")
    _, finding, examples, time = row
    return Dismissal.from_json(f"[{json.dumps(finding)}, {examples}, {json.dumps(time)}]")
