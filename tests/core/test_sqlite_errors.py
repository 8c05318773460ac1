"""A damaged database is told from every other error, whatever bytes SQLite quotes of it."""

import sqlite3
from contextlib import closing

import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.sqlite_errors import SQLITE_ERRORS, reason_of
from lmm_classifier.index.vector_index import Index
from tests.helpers.vector_indexes import write_clusters


def damage(file):
    """Write a byte that is no UTF-8 into the statements that made the tables; SQLite quotes it."""
    file.write_bytes(file.read_bytes().replace(b"CREATE TABLE", b"CREATE TA\x81LE"))


def test_quoted_bytes_that_are_no_text(tmp_path):
    """The message shows them escaped; that of another error is as it is."""
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as database:
        database.execute("CREATE TABLE things (name TEXT)")
        database.commit()
    damage(tmp_path / "a.sqlite")
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as database, pytest.raises(SQLITE_ERRORS) as caught:
        database.execute("SELECT name FROM things")
    assert r"TA\x81LE" in reason_of(caught.value)
    assert reason_of(sqlite3.OperationalError("no such table")) == "no such table"


def test_an_index_with_such_bytes_is_damaged(tmp_path):
    """It is refused with advice, as any other damage is."""
    index = write_clusters(tmp_path / "index")
    for file in index.glob("*.sqlite"):
        damage(file)
    with pytest.raises(IndexFileError, match=r"(?s)damaged: .*TA\\x81LE.*lmm-classifier doctor"):
        Index.open(index)
