"""The database of runs: private, recognized, whole or not at all, and shared by threads and programs."""

import os
import sqlite3
import stat
import sys
from contextlib import closing
from threading import Thread

import pytest

from lmm_classifier.core.errors import ClosedError, ReviewError
from lmm_classifier.review.storage.database import FILE, ReviewDatabase
from lmm_classifier.review.storage.run_store import RunStore


@pytest.fixture
def database(tmp_path):
    database = ReviewDatabase(tmp_path)
    yield database
    database.close()


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are those of POSIX")
def test_only_the_owner_can_read_it(tmp_path, database):
    """The log of SQLite too, whatever the umask."""
    RunStore(database).create({"kind": "upload"})
    files = [file for file in tmp_path.iterdir() if file.name.startswith(FILE)]
    assert len(files) == 3
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3


def test_a_block_is_committed_whole_or_not_at_all(database):
    """An error in it, or in a block inside it, takes everything back."""
    store = RunStore(database)

    def fail():
        with database.writing():
            store.create({"kind": "upload"})
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert store.runs() == []
    store.create({"kind": "upload"})
    assert len(store.runs()) == 1


def test_other_files_are_refused(tmp_path):
    """A text, a database of another program, and one with a trigger in addition; none is changed."""
    file = tmp_path / FILE
    file.write_bytes(b"no database" * 100)
    with pytest.raises(ReviewError, match="damaged"):
        ReviewDatabase(tmp_path)
    file.unlink()
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE mine (value)")
    with pytest.raises(ReviewError, match="not a database of runs"):
        ReviewDatabase(tmp_path)
    file.unlink()
    ReviewDatabase(tmp_path).close()
    with closing(sqlite3.connect(file)) as own:
        own.execute("CREATE TRIGGER evil AFTER INSERT ON runs BEGIN DELETE FROM runs; END")
    with pytest.raises(ReviewError, match="damaged"):
        ReviewDatabase(tmp_path)
    with closing(sqlite3.connect(file)) as own:
        own.execute("DROP TRIGGER evil")
        own.execute("PRAGMA user_version=1")
    with pytest.raises(ReviewError, match="format 1"):
        ReviewDatabase(tmp_path)


def test_an_empty_file_of_an_interrupted_start_is_used(tmp_path):
    """The program may end between two steps of making a database."""
    (tmp_path / FILE).touch(0o600)
    with closing(ReviewDatabase(tmp_path)) as database:
        assert RunStore(database).create({"kind": "upload"}).id == 1


def test_no_folder_no_runs(tmp_path):
    """Runs belong to an index."""
    with pytest.raises(ReviewError, match="not a folder"):
        ReviewDatabase(tmp_path / "missing")


def test_a_damaged_row_is_noticed(tmp_path, database):
    """A bit that flips on the disk never becomes an answer."""
    store = RunStore(database)
    number = store.create({"kind": "upload"}).id
    with closing(sqlite3.connect(tmp_path / FILE)) as other, other:
        other.execute("UPDATE runs SET state = 'done'")
    with pytest.raises(ReviewError, match="damaged"):
        store.run(number)
    store.delete([number])
    assert store.runs() == []


def test_threads_and_programs_share_it(tmp_path, database):
    """Each run has a number of its own."""
    with closing(ReviewDatabase(tmp_path)) as other:
        stores = [RunStore(database), RunStore(database), RunStore(other)]
        threads = [Thread(target=lambda s=s: [s.create({"kind": "upload"}) for _ in range(10)]) for s in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(run.id for run in RunStore(other).runs()) == list(range(1, 31))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_opens_its_own(database):
    """The parent's connection stays usable."""
    store = RunStore(database)
    store.create({"kind": "upload"})
    child = os.fork()
    if not child:
        try:
            os._exit(len(store.runs()))
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert len(store.runs()) == 1


def test_a_closed_one_says_so(database):
    """Closing it twice is no error."""
    database.close()
    database.close()
    with pytest.raises(ClosedError):
        RunStore(database).runs()
