"""Totals of labels that edits update are those of the examples."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.storage.editing.change import Change
from lmm_classifier.index.storage.editing.label_totals import group_digest, groups_digest, totals_of
from lmm_classifier.index.storage.records import FROM_FOLDER, Record

EXAMPLES = st.lists(st.tuples(st.sampled_from("ab\u05d0"), st.sampled_from("123")), max_size=8)


def records(pairs):
    return [Record(f"{n}", label, content, 1, 1, "", FROM_FOLDER) for n, (label, content) in enumerate(pairs)]


@given(EXAMPLES, st.permutations("ab\u05d0"))
def test_the_groups_do_not_depend_on_names(pairs, names):
    """Renaming labels changes nothing; moving one example to a new group does."""
    renamed = dict(zip("ab\u05d0", names, strict=True))
    digest = groups_digest(totals_of(records(pairs)))
    assert groups_digest(totals_of(records([(renamed[label], content) for label, content in pairs]))) == digest
    assert groups_digest(totals_of(records([*pairs, ("new", "1")]))) != digest


def test_an_empty_label_has_no_group():
    """So that a label that lost its last example leaves no trace."""
    assert group_digest(0, 5) == 0
    assert group_digest(1, 5) != group_digest(2, 5) != group_digest(2, 6)


def test_a_label_without_an_example_is_gone(store):
    """And a damaged total is an error, not a wrong number."""
    first = store.records()[0]
    counts = store.label_counts()
    store.commit(Change([replace(first, label="new")]), store.manifest())
    assert store.label_counts() == {**counts, first.label: counts[first.label] - 1, "new": 1}
    store.commit(Change([first]), store.manifest())
    assert store.label_counts() == counts
    store._connection.execute("UPDATE labels SET count = count + 1")
    with pytest.raises(IndexFileError, match="row of a label is damaged"):
        store.label_counts()
