"""Single rows are found as a search through all would find them, and what is stale is known from a few numbers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.formats import read_index, write_calibration
from lmm_classifier.index.staleness import ExampleDigests, stale_parts, vectors_digest
from lmm_classifier.index.storage.editing.change import Change
from lmm_classifier.index.storage.editing.stored_rows import opened_rows
from lmm_classifier.index.storage.store import Store


def calibrate(folder):
    """Store a calibration that was fitted to the current examples."""
    contents = read_index(folder)
    arrays = {**ExampleDigests.of(contents).to_arrays(), "vectors": np.array([vectors_digest(contents)])}
    write_calibration(folder, contents, arrays)


def test_rows_are_found_by_id_content_and_label(store):
    """Each lookup reads only these rows."""
    records = store.records()
    twin = replace(records[0], path="z/twin.jpg")
    store.commit(Change([twin]), store.manifest())
    assert store.record(records[3].path) == records[3]
    assert store.record("none") is None
    assert store.record_with_content(records[3].content_hash) == records[3]
    assert store.record_with_content("none") is None
    assert store.ids_of_content(twin.content_hash) == sorted([records[0].path, twin.path])
    label = records[0].label
    assert store.records_of_label(label) == [record for record in store.records() if record.label == label]
    space = store.manifest().space_ids[0]
    hashes = [records[0].content_hash, "none"]
    assert store.encoded_among(space, hashes) == {records[0].content_hash}


def test_no_lookup_of_an_edit_scans_the_table(store):
    """SQLite would say SCAN in its plan."""
    for column in ("path", "hash", "label"):
        plan = store._connection.execute(
            f"EXPLAIN QUERY PLAN SELECT * FROM examples WHERE {column} = ? ORDER BY path", (b"",)
        ).fetchall()
        assert all("SEARCH" in line[-1] for line in plan if "examples" in line[-1]), plan


CHANGES = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(["relabel", "drop", "put"]), st.integers(0, 3)), max_size=6
)


@pytest.mark.long
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES, rename=st.booleans())
def test_what_is_stale_is_known_without_reading_all_examples(folder, changes, rename):
    """The same as a comparison of all examples finds, after any edits: a renamed label alone is not stale."""
    with Store(folder) as store:
        first = store.records()
        names = [f"label {number}" for number in range(3)]
        start = [replace(record, label=names[number % 3]) for number, record in enumerate(first)]
        store.commit(Change(start), store.manifest())
    calibrate(folder)
    with Store(folder) as store:
        for number, kind, label in changes:
            if kind == "drop":
                store.commit(Change([], [start[number].path]), store.manifest())
            else:
                store.commit(Change([replace(start[number], label=[*names, "new"][label])]), store.manifest())
        if rename:
            renamed = [replace(r, label=f"{r.label}!") for r in store.records()]
            store.commit(Change(renamed), store.manifest())
    with opened_rows(folder) as rows:
        assert rows.stale_parts() == stale_parts(read_index(folder))
    with Store(folder) as store:
        store.commit(Change(first), store.manifest())


def test_a_calibration_whose_numbers_were_lost_is_read(folder):
    """A repair may have removed them; without a calibration nothing is stale."""
    with opened_rows(folder) as rows:
        assert rows.stale_parts() == ()
    calibrate(folder)
    with Store(folder) as store:
        store._connection.execute("DELETE FROM meta WHERE name = 'calibrated'")
        assert store.stale_parts() == ()
        store.commit(Change([replace(store.records()[0], label="new")]), store.manifest())
        assert [part.partition(":")[0] for part in store.stale_parts()] == ["calibration"]


def test_a_folder_without_an_index_is_refused(tmp_path):
    """With the error that all readers give."""
    with pytest.raises(IndexFileError, match="is not an index"), opened_rows(tmp_path):
        pass
