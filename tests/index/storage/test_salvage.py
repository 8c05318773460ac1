"""Every sound row of a database is copied into a new one."""

import sqlite3
from contextlib import closing

import numpy as np

from lmm_classifier.index.formats import read_index
from lmm_classifier.index.storage.database import FILE, connect
from lmm_classifier.index.storage.records import KnownFile
from lmm_classifier.index.storage.salvage import salvage
from lmm_classifier.index.storage.schema import TABLES
from lmm_classifier.index.storage.store import Change, Store
from lmm_classifier.testing import random_embeddings
from tests.contracts.test_index import write


def rows(folder):
    """Read all rows of each table."""
    with closing(connect(folder)) as connection:
        return {table.name: connection.execute(f"{table.select} ORDER BY 1, 2").fetchall() for table in TABLES}


def test_all_rows_of_all_tables_are_copied(tmp_path):
    """A table whose columns were misspelled would be taken for an unreadable one."""
    folder = write(tmp_path / "index", random_embeddings(np.random.default_rng(0), 5, 4))
    with Store(folder) as store:
        store.put_vectors("other", [], [KnownFile("a/bad.png", 1, 2, "hash9", "limits", "corrupt", "damaged image")])
        store.commit(Change([], ["p/001.jpg"], removed=[("hash1", "p/001.jpg")]), store.manifest())
    before = rows(folder)
    assert all(before.values())
    assert salvage(folder) == {name: len(table) for name, table in before.items()}
    assert rows(folder) == before
    assert (folder / f"{FILE}.damaged-1").is_file()
    assert len(read_index(folder).paths) == 4


def test_damaged_rows_are_not_copied(tmp_path):
    """The other rows of the table are."""
    folder = write(tmp_path / "index", random_embeddings(np.random.default_rng(0), 5, 4))
    with closing(sqlite3.connect(folder / FILE)) as connection, connection:
        connection.execute("UPDATE vectors SET crc = crc + 1 WHERE key IN (2, 4)")
    counts = salvage(folder)
    assert (counts["vectors"], counts["examples"]) == (3, 5)
