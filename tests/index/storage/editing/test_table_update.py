"""The table of a version is the same, whether it is read whole or made from that of a former version."""

import shutil
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.formats import read_index
from lmm_classifier.index.storage import database
from lmm_classifier.index.storage.editing.table_update import updated_table
from lmm_classifier.index.storage.reader import read_store
from lmm_classifier.index.storage.snapshot import FOLDER, read_snapshot
from lmm_classifier.index.storage.state import State
from tests.helpers.datasets import offline_config
from tests.helpers.encoders import ColorEncoder
from tests.helpers.vector_indexes import write_clusters

EDITS = st.lists(
    st.tuples(
        st.sampled_from(["relabel", "remove", "rename", "undo", "dismiss nothing"]),
        st.integers(0, 10**6),
        st.sampled_from(["a new label", "b", "\udcff", "מרחבא", "~"]),
    ),
    max_size=6,
)


def edit(editor, kind, number, label):
    """Make one edit; some have no effect."""
    contents = read_index(editor.path)
    path = contents.paths[number % len(contents.paths)]
    if kind == "relabel":
        editor.relabel([path], label)
    elif kind == "remove" and len(contents.paths) > 3:
        editor.remove([path])
    elif kind == "rename":
        editor.rename_label(contents.labels[number % len(contents.labels)], label)
    elif kind == "undo" and editor.last_edit() is not None:
        editor.undo()


def table_now(index, former):
    """Return the table by way of a former snapshot, None where that is no way."""
    with database.reading(index) as connection:
        state = State.read(connection, str(index))
        return updated_table(connection, str(index), former.table, former.stamp, state.stamp)


def columns(table):
    return list(table.labels), list(table.paths), list(table.hashes)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An index of few examples."""
    root = tmp_path_factory.mktemp("table")
    write_clusters(root / "index", spread=1.0)
    return root / "index"


@pytest.mark.long
@given(EDITS)
@settings(max_examples=15)
def test_the_same_table_after_any_edits(made, tmp_path_factory, edits):
    """Several edits at a time, with labels that come and go."""
    index = shutil.copytree(made, tmp_path_factory.mktemp("edited") / "index")
    read_store(index)
    former = read_snapshot(index)
    editor = IndexEditor(index, offline_config(index), ColorEncoder())
    for one in edits:
        edit(editor, *one)
    now = table_now(index, former)
    shutil.rmtree(index / FOLDER)
    assert columns(now) == columns(read_store(index))
    assert list(now.labels.names) == sorted(set(now.labels))


def test_a_former_version_that_the_journal_does_not_reach(made, tmp_path):
    """The table is read whole where edits were forgotten, where the digest differs, or in another index."""
    index = shutil.copytree(made, tmp_path / "index")
    read_store(index)
    former = read_snapshot(index)
    editor = IndexEditor(index, offline_config(index), ColorEncoder())
    paths = read_index(index).paths
    editor.relabel([paths[0]], "new")
    assert table_now(index, former) is not None
    with database.reading(index) as connection:
        stamp = State.read(connection, str(index)).stamp
        for other in ({"digest": stamp.digest + 1}, {"index": "another"}, {"edits": stamp.edits + 1}):
            changed = type(stamp)(**{**vars(stamp), **other})
            assert updated_table(connection, str(index), former.table, former.stamp, changed) is None
    editor.purge(datetime.now() + timedelta(days=1))
    assert table_now(index, former) is None
    assert read_index(index).labels[0] == "new"
