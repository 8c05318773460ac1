"""The table of edits: numbers that are never given twice, and which edit has an effect."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.storage.editing.change import Change
from lmm_classifier.index.storage.editing.edits import NewEdit, edit_time
from tests.helpers.journals import assert_consistent


def toggle(store, undoes=None):
    """Make an edit that changes one example."""
    record = store.records()[0]
    label = "b" if record.label == "a" else "a"
    return store.commit(
        Change([replace(record, label=label)]), store.manifest(), NewEdit("toggle", "me", "why", undoes)
    )


def undone(store):
    return {row.id: row.undone_by for row, _ in store.edits(100)}


def test_a_chain_of_undos_says_which_edit_has_an_effect(store):
    """Undone, done again, undone: the edit at the start follows."""
    toggle(store)
    edit = toggle(store)
    undo = toggle(store, undoes=edit)
    assert (undone(store)[edit], undone(store)[undo]) == (undo, 0)
    redo = toggle(store, undoes=undo)
    assert (undone(store)[edit], undone(store)[undo], undone(store)[redo]) == (0, redo, 0)
    again = toggle(store, undoes=redo)
    assert (undone(store)[edit], undone(store)[undo], undone(store)[redo]) == (undo, 0, again)


def test_numbers_go_on_after_old_edits_were_forgotten(store, folder):
    """A number in a log never names another edit later."""
    last = toggle(store)
    assert store.purge(datetime.now(UTC) + timedelta(seconds=1)).edits == 2
    assert store.edits(10) == []
    assert toggle(store) == last + 1
    store.close()
    assert_consistent(folder)


def test_edits_are_listed_in_parts(store):
    """The newest first."""
    made = [toggle(store) for _ in range(5)]
    assert [row.id for row, _ in store.edits(2)] == made[:2:-1]
    assert [row.id for row, _ in store.edits(2, before=made[3])] == [made[2], made[1]]


def test_a_damaged_row_is_an_error(store):
    """It is never listed as another edit."""
    toggle(store)
    store._connection.execute("UPDATE edits SET images = images + 1")
    with pytest.raises(IndexFileError, match="row of an edit is damaged"):
        store.edits(10)


def test_times_sort_as_texts():
    """Whatever their zone is."""
    first = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    second = datetime(2026, 1, 1, 8, tzinfo=UTC)
    assert edit_time(first) < edit_time(second)
    assert edit_time(second) == "2026-01-01T08:00:00.000+00:00"
