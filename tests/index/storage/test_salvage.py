"""Every sound row of a database is copied into a new one."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.dismissals import Dismissal
from lmm_classifier.index.doctor import check_index
from lmm_classifier.index.formats import read_index
from lmm_classifier.index.storage.database import FILE, connect, former_format
from lmm_classifier.index.storage.editing.change import Change
from lmm_classifier.index.storage.editing.edits import NewEdit
from lmm_classifier.index.storage.lock import locked
from lmm_classifier.index.storage.records import KnownFile
from lmm_classifier.index.storage.salvage import salvage
from lmm_classifier.index.storage.schema import TABLES
from lmm_classifier.index.storage.store import Store
from lmm_classifier.testing import random_embeddings
from tests.contracts.test_index import write

OPEN_FILES = Path("/proc/self/fd")


def rows(folder):
    """Read all rows of each table."""
    with closing(connect(folder)) as connection:
        return {table.name: connection.execute(f"{table.select} ORDER BY 1, 2").fetchall() for table in TABLES}


def test_all_rows_of_all_tables_are_copied(tmp_path):
    """A table whose columns were misspelled would be taken for an unreadable one."""
    folder = write(tmp_path / "index", random_embeddings(np.random.default_rng(0), 5, 4))
    with Store(folder) as store:
        store.put_vectors({"other": []}, [KnownFile("a/bad.png", 1, 2, "hash9", "limits", "corrupt", "damaged image")])
        dismissed = [Dismissal.of("outlier", [("hash2", "a")])]
        change = Change([], ["p/001.jpg"], removed=[("hash1", "p/001.jpg")], dismissed=dismissed)
        store.commit(change, store.manifest(), NewEdit("remove"))
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


@pytest.fixture
def repaired(tmp_path):
    """An index that was repaired: its former database is `index.sqlite.damaged-1`."""
    folder = write(tmp_path / "index", random_embeddings(np.random.default_rng(0), 5, 4))
    salvage(folder)
    return folder


def interrupt(folder, linked, moved_log):
    """Bring back the files as they are when a repair is killed before the new database is in its place."""
    (folder / "repaired-1").mkdir()
    (folder / FILE).rename(folder / "repaired-1" / FILE)
    backup = folder / f"{FILE}.damaged-1"
    shutil.copy(backup, folder / FILE) if linked else backup.rename(folder / FILE)
    (folder / (f"{FILE}.damaged-1-wal" if moved_log else f"{FILE}-wal")).write_bytes(b"log of the damaged database")


@pytest.mark.parametrize(("linked", "moved_log"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("use", [read_index, lambda folder: Store(folder).close(), check_index])
def test_a_repair_that_was_killed_is_finished_by_the_next_use(repaired, linked, moved_log, use):
    """Whichever program comes next, it never applies the log of the damaged database to the new one."""
    expected = rows(repaired)
    interrupt(repaired, linked, moved_log)
    use(repaired)
    assert rows(repaired) == expected
    assert (repaired / f"{FILE}.damaged-1").is_file()
    assert (repaired / f"{FILE}.damaged-1-wal").read_bytes() == b"log of the damaged database"
    assert not list(repaired.glob("repaired-*"))


def test_the_database_is_found_where_the_file_system_has_no_links(repaired):
    """There, the damaged file is renamed, so that for a moment the folder has no database."""
    expected = rows(repaired)
    (repaired / "repaired-1").mkdir()
    (repaired / FILE).rename(repaired / "repaired-1" / FILE)
    read_index(repaired)
    assert rows(repaired) == expected


def test_a_repair_in_progress_is_not_finished_by_a_reader(repaired):
    """The reader waits for the lock of the program that repairs."""
    interrupt(repaired, linked=True, moved_log=True)
    with locked(repaired), pytest.raises(IndexFileError, match="Another program"):
        Store(repaired, wait=0.05)
    assert (repaired / "repaired-1" / FILE).is_file()


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="needs the list of open files that Linux has")
def test_connections_to_damaged_databases_are_closed(tmp_path):
    """An error while a database is opened leaves no file open: garbage is not relied on."""
    folder = write(tmp_path / "index", random_embeddings(np.random.default_rng(0), 5, 4))
    (folder / FILE).write_bytes(b"not a database" * 1000)
    kept = []
    for use in (connect, salvage, former_format, Store):
        try:
            use(folder)
        except (sqlite3.Error, IndexFileError) as error:
            kept.append(error)  # its traceback keeps every local variable alive
    assert len(kept) == 3
    damaged = write(tmp_path / "other", random_embeddings(np.random.default_rng(0), 5, 4))
    with closing(sqlite3.connect(damaged / FILE)) as connection, connection:
        connection.execute("UPDATE meta SET crc = 0 WHERE name LIKE 'state%'")
    with pytest.raises(IndexFileError) as error:
        Store(damaged)
    kept.append(error.value)
    opened = [os.path.realpath(link) for link in OPEN_FILES.iterdir()]
    assert not [file for file in opened if FILE in file and Path(file).is_relative_to(tmp_path.resolve())]
