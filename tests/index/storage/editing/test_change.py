"""One commit changes rows, totals and the journal together, and says what it changed."""

from dataclasses import replace

import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.dismissals import Dismissal
from lmm_classifier.index.storage.editing.change import Change
from lmm_classifier.index.storage.editing.edits import NewEdit
from tests.helpers.journals import assert_consistent


def commit(store, change, kind="edit"):
    return store.commit(change, store.manifest(), NewEdit(kind))


def test_rows_before_and_after_are_those_that_changed(store):
    """A new time of a file is no change, nor is a mark or a dismissal that is there already."""
    first, second, third = store.records()[:3]
    label, mark = Dismissal.of("label", [(first.content_hash, "x")]), (second.content_hash, second.path)
    change = Change(
        [replace(first, label="new"), replace(third, stamp=9)], [second.path], removed=[mark], dismissed=[label]
    )
    _, rows = store.edit(commit(store, change))
    assert rows.before.examples == (second, first)
    assert rows.after.examples == (replace(first, label="new"),)
    assert (rows.before.removed, rows.after.removed) == ((), (mark,))
    assert (rows.before.dismissals, rows.after.dismissals) == ((), (label,))
    assert commit(store, Change([replace(first, label="new", stamp=4)], removed=[mark], dismissed=[label])) is None
    _, rows = store.edit(commit(store, Change([], readmitted=[second.content_hash], restored=[label])))
    assert (rows.before.removed, rows.before.dismissals) == ((mark,), (label,))
    assert not rows.after


def test_a_commit_without_an_edit_is_not_in_the_journal(store, folder):
    """Such as a transform that was fitted again; numbers of edits go on afterwards."""
    record = store.records()[0]
    store.commit(Change([replace(record, label="new")]), store.manifest())
    number = commit(store, Change([record]))
    assert [row.id for row, _ in store.edits(10)] == [number, 1]
    store.close()
    assert_consistent(folder)


def test_a_change_that_fails_changes_nothing(store, folder):
    """Neither rows nor the journal nor the state in memory."""
    before, edits = store.state, store.edits(10)
    broken = replace(store.records()[0], size=object())
    with pytest.raises(IndexFileError):
        commit(store, Change([replace(store.records()[1], label="new"), broken]))
    assert store.state == before
    assert store.edits(10) == edits
    store.close()
    assert_consistent(folder)
