"""Find contradictions in the journal and in the totals of the labels, and correct them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace

from lmm_classifier.index.storage import database
from lmm_classifier.index.storage.editing.edits import put_edit, read_edits
from lmm_classifier.index.storage.editing.label_totals import (
    groups_digest,
    put_label_totals,
    read_label_totals,
    totals_of,
)
from lmm_classifier.index.storage.records import read_records
from lmm_classifier.index.storage.state import State, put_state


def repair_label_totals(connection: sqlite3.Connection, source: str, repair: bool) -> Iterator[str]:
    """Yield a problem if the totals are not those of the examples; with `repair`, write them again."""
    state = State.read(connection, source)
    totals = dict(totals_of(read_records(connection, source)))
    groups = groups_digest(totals)
    if state is None or (read_label_totals(connection, source) == totals and state.groups == groups):
        return
    yield "the totals of the labels are not those of the examples"
    if repair:
        with database.transaction(connection):
            connection.execute("DELETE FROM labels")
            put_label_totals(connection, totals)
            put_state(connection, replace(state, groups=groups))


def repair_journal(connection: sqlite3.Connection, source: str, repair: bool) -> Iterator[str]:
    """Yield which edits lost rows, so that they cannot be undone; with `repair`, the journal says so.

    The number of the last edit never becomes smaller, so that no number is given twice.
    """
    counts = dict(connection.execute("SELECT edit, count(*) FROM journal GROUP BY edit").fetchall())
    edits = {edit.id: edit for edit in read_edits(connection, source, -1)}
    incomplete = [edit for edit in edits.values() if counts.get(edit.id, 0) != edit.changed]
    unnamed = sorted(set(counts) - set(edits))
    state = State.read(connection, source)
    last = max([0, *edits, *counts])
    if incomplete:
        yield f"{len(incomplete)} edits lost rows of the journal: {', '.join(str(edit.id) for edit in incomplete[:3])}"
    if unnamed:
        yield f"the journal has rows of {len(unnamed)} unknown edits: {', '.join(map(str, unnamed[:3]))}"
    if state is not None and state.edits < last:
        yield f"the last edit is {last}, but {state.edits} were written"
    if not repair:
        return
    with database.transaction(connection):
        lost = [(number,) for number in (*unnamed, *(edit.id for edit in incomplete))]
        connection.executemany("DELETE FROM journal WHERE edit = ?", lost)
        for edit in incomplete:
            put_edit(connection, replace(edit, changed=0))
        if state is not None and state.edits < last:
            put_state(connection, replace(state, edits=last))
