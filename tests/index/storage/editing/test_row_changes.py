"""Rows in the journal come back as they were, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.dismissals import Dismissal
from lmm_classifier.index.storage.database import connect
from lmm_classifier.index.storage.editing.row_changes import RowChanges, Rows, put_row_changes, read_row_changes
from lmm_classifier.index.storage.records import FROM_FOLDER, Record

TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from("\udcff\udc80"), max_size=8)
RECORDS = st.builds(Record, TEXT, TEXT, TEXT, st.integers(-1, 2**40), st.integers(0, 2**62), TEXT, st.just(FROM_FOLDER))
ROWS = st.builds(
    Rows,
    st.lists(RECORDS, max_size=3).map(tuple),
    st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple),
    st.lists(st.builds(lambda a, b: Dismissal.of("label", [(a, b)]), TEXT, TEXT), max_size=2).map(tuple),
)


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    opened = connect(tmp_path_factory.mktemp("journal"), create=True)
    yield opened
    opened.close()


@pytest.mark.long
@given(ROWS, ROWS)
def test_any_text_comes_back(connection, before, after):
    """Names that are no text too: their bytes are lone surrogates."""
    changes = RowChanges(before, after)
    connection.execute("DELETE FROM journal")
    count = put_row_changes(connection, 3, changes)
    assert read_row_changes(connection, "index", 3, count) == changes


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journal SET after = 1 - after WHERE number = 0",
        "UPDATE journal SET fields = '[]' WHERE number = 0",
        "DELETE FROM journal WHERE number = 0",
        "UPDATE journal SET crc = 'x'",
    ],
)
def test_damage_is_an_error(connection, statement):
    """No undo works on half of the rows."""
    connection.execute("DELETE FROM journal")
    record = Record("a/1.png", "a", "h", 1, 2, "", FROM_FOLDER)
    put_row_changes(connection, 7, RowChanges(Rows((record,)), Rows(removed=(("h", "a/1.png"),))))
    connection.execute(statement)
    with pytest.raises(IndexFileError, match="journal of edit 7 is damaged"):
        read_row_changes(connection, "index", 7, 2)
