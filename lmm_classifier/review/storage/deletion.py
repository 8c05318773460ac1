"""A run is deleted with everything that is stored of it."""

from __future__ import annotations

import sqlite3

from lmm_classifier.review.storage.tables import (
    ANSWERS,
    DECISIONS,
    DRIFT,
    DRIFT_REPORTS,
    ITEMS,
    ORDERS,
    RESULTS,
    VECTORS,
)


def uploaded_hashes(connection: sqlite3.Connection) -> set[str]:
    """Return the content hashes of all items that were uploaded."""
    source = "CAST(source AS TEXT)"
    rows = connection.execute(
        "SELECT DISTINCT hash FROM items JOIN runs ON runs.id = items.run "
        f"WHERE json_valid({source}) AND json_extract({source}, '$.kind') = 'upload'"
    )
    return {value.decode("ascii") for (value,) in rows}


def delete_rows(connection: sqlite3.Connection, run: int) -> None:
    """Delete all rows of a run."""
    items = "(SELECT id FROM items WHERE run = ?)"
    for table in (RESULTS, VECTORS, DECISIONS):
        connection.execute(f"DELETE FROM {table.name} WHERE item IN {items}", (run,))
    for name in ("changes", ITEMS.name, ANSWERS.name, ORDERS.name, DRIFT.name, DRIFT_REPORTS.name):
        connection.execute(f"DELETE FROM {name} WHERE run = ?", (run,))
    connection.execute("DELETE FROM runs WHERE id = ?", (run,))
