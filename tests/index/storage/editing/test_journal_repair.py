"""The doctor finds damage in the journal, the totals and the dismissals, and repairs it."""

from dataclasses import replace

import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.dismissals import Dismissal
from lmm_classifier.index.doctor import check_index
from lmm_classifier.index.storage.editing.change import Change
from lmm_classifier.index.storage.editing.edits import NewEdit
from lmm_classifier.index.storage.state import put_state
from lmm_classifier.index.storage.store import Store
from tests.helpers.datasets import offline_config
from tests.helpers.journals import assert_consistent


def tampered(folder, statement):
    """Make two edits and a dismissal, then change the database as a flipped bit would."""
    with Store(folder) as store:
        for record in store.records()[:2]:
            store.commit(Change([replace(record, label="new")]), store.manifest(), NewEdit("relabel"))
        finding = Dismissal.of("outlier", [("hash1", "")])
        store.commit(Change([], dismissed=[finding]), store.manifest(), NewEdit("dismiss"))
        store.contents()
        store._connection.execute(statement)
    return folder


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE journal SET crc = crc + 1 WHERE edit = 2 AND number = 0", "damaged journal"),
        ("UPDATE edits SET crc = crc + 1 WHERE id = 2", "damaged edits"),
        ("UPDATE labels SET crc = crc + 1", "damaged labels"),
        ("UPDATE dismissals SET crc = crc + 1", "damaged dismissals"),
        ("DELETE FROM journal WHERE edit = 2 AND number = 1", "1 edits lost rows of the journal: 2"),
        ("DELETE FROM edits WHERE id = 3", "rows of 1 unknown edits: 3"),
        ("DELETE FROM labels", "the totals of the labels"),
        ("DELETE FROM meta WHERE name = 'calibrated'", ""),
    ],
)
def test_damage_is_found_and_repaired(folder, statement, what):
    """Other edits can still be undone, and numbers are not given twice."""
    index = tampered(folder, statement)
    found = [finding for finding in check_index(index) if finding.severity == "damage"]
    assert any(what in finding.what for finding in found) or not what
    repaired = check_index(index, repair=True)
    assert all(finding.repaired for finding in repaired if finding.severity == "damage")
    assert [finding for finding in check_index(index) if finding.severity == "damage"] == []
    assert_consistent(index)
    editor = IndexEditor(index, offline_config(index))
    numbers = [edit.id for edit in editor.edits()]
    undone = []
    while True:
        try:
            undone.append(editor.undo().edit)
        except IndexFileError:
            break
    assert undone
    assert min(undone) > max([4, *numbers])
    assert_consistent(index)


def test_the_last_number_is_never_smaller_than_an_edit(folder):
    """Else a later edit would take the place of one in the journal."""
    index = tampered(folder, "SELECT 1")
    with Store(index) as store, store._changing():
        put_state(store._connection, replace(store.state, edits=1))
    assert any("the last edit is 4, but 1 were written" in finding.what for finding in check_index(index, repair=True))
    with Store(index) as store:
        assert store.state.edits == 4
