"""The durable index: each change is whole or not at all, and everybody sees one version."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.formats import read_index
from lmm_classifier.index.storage.database import FILE
from lmm_classifier.index.storage.reader import read_store
from lmm_classifier.index.storage.records import CORPUS, Record
from lmm_classifier.index.storage.snapshot import FOLDER
from lmm_classifier.index.storage.store import Change, Store
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.testing import unit_rows
from tests.contracts.test_index import write

DIM = 8
ROWS = unit_rows(np.random.default_rng(0), 50, DIM)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "index", ROWS[:10])


def record(number, label="c"):
    return Record(f"{label}/{number:03}.jpg", label, f"hash{number}", 1, 2, "2026-01-01", CORPUS)


def add(store, numbers, **more):
    manifest = store.manifest()
    encoder = manifest.fingerprint.space_id
    store.keep(encoder, [(f"hash{number}", ROWS[number]) for number in numbers])
    return store.commit(Change([record(number) for number in numbers], **more), manifest)


def test_a_commit_is_a_version(folder):
    """Rows are sorted by id, whatever the order in which they came; vectors go with their examples."""
    with Store(folder) as store:
        add(store, [30, 20])
    contents = read_store(folder)
    assert contents.version == 2
    assert contents.paths == sorted(contents.paths)
    index = ExactIndex.open(folder)
    assert index.manifest.count == len(index) == 12
    for number in (20, 30, 3):
        row = index.hashes.index(f"hash{number}")
        np.testing.assert_array_equal(index.gallery.units[row], ROWS[number])
        np.testing.assert_array_equal(index.vectors()[row], ROWS[number])


def test_vectors_alone_change_nothing(folder):
    """What a build or sync has encoded is kept, and no reader sees it before the examples are changed."""
    with Store(folder) as store:
        store.keep(store.manifest().fingerprint.space_id, [("hash40", ROWS[40])])
    assert read_store(folder).version == 1
    with Store(folder) as store:
        assert "hash40" in store.encoded(store.manifest().fingerprint.space_id)


def test_dropping_and_replacing(folder):
    """A dropped id is gone, a replaced one has the new content; the digest is that of a fresh index."""
    with Store(folder) as store:
        before = store.state
        add(store, [20, 21])
        add(store, [], drop=["c/020.jpg", "c/021.jpg", "never/there.jpg"], tidy=True)
        assert (store.state.digest, store.state.contents) == (before.digest, before.contents)
        assert "hash20" not in store.encoded(store.manifest().fingerprint.space_id)
        changed = replace(record(20), path="p/000.jpg")
        store.keep(store.manifest().fingerprint.space_id, [("hash20", ROWS[20])])
        store.commit(Change([changed]), store.manifest())
    contents = read_store(folder)
    assert contents.hashes[0] == "hash20"
    assert contents.labels[0] == "c"
    assert len(contents.paths) == 10


def test_a_reader_keeps_its_version(folder):
    """An open index is what it was, to the last row, while a writer adds and sweeps the old files."""
    lazy, used = ExactIndex.open(folder), ExactIndex.open(folder)
    np.testing.assert_array_equal(used.gallery.units, ROWS[:10])
    with Store(folder) as store:
        add(store, range(20, 40))
        store.contents()
        add(store, [41])
        store.contents()
    assert {file.name for file in (folder / FOLDER).iterdir()} == {"3.npy", "3.table"}
    for index in (lazy, used):
        assert len(index) == 10
        np.testing.assert_array_equal(index.gallery.units, ROWS[:10])
    assert len(ExactIndex.open(folder)) == 31


def test_readers_beside_a_writer(folder):
    """Readers that open all the time see whole versions only: every commit adds five."""
    seen, errors, done = [], [], threading.Event()

    def read():
        try:
            while not done.is_set():
                index = ExactIndex.open(folder)
                seen.append((index.contents.version, len(index), len(index.gallery.units)))
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for thread in readers:
        thread.start()
    with Store(folder) as store:
        for start in range(10, 50, 5):
            add(store, range(start, start + 5))
    done.set()
    for thread in readers:
        thread.join()
    assert not errors
    assert seen
    assert all(count == rows == 10 + 5 * (version - 1) for version, count, rows in seen)


def test_one_writer_at_a_time(folder):
    """A second writer waits, and is then told that another one is at work."""
    with Store(folder), pytest.raises(IndexFileError, match="another program has been changing"):
        Store(folder, wait=0.1)
    opened = []

    def write_later():
        with Store(folder, wait=20) as store:
            opened.append(add(store, [25]).version)

    with Store(folder) as store:
        second = threading.Thread(target=write_later)
        second.start()
        add(store, [20])
    second.join()
    assert opened == [3]


def test_another_process_is_kept_out(folder):
    """The lock holds between processes, and a killed one does not keep it."""
    code = (
        "import sys, time; from pathlib import Path; from lmm_classifier.index.storage.store import Store\n"
        "store = Store(Path(sys.argv[1])); print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(IndexFileError, match="another program"):
            Store(folder, wait=0.1)
        other.kill()
    with Store(folder, wait=5) as store:
        add(store, [20])


def test_damaged_derived_files_are_made_again(folder, caplog):
    """A flipped bit in the matrix or the table costs a warning and some time, never a wrong answer."""
    for name, place in (("1.npy", 200), ("1.table", 30), ("1.table", -10), ("1.npy", 20)):
        file = folder / FOLDER / name
        if not file.exists():
            read_store(folder)
        data = bytearray(file.read_bytes())
        data[place] ^= 8
        file.write_bytes(data)
        index = ExactIndex.open(folder)
        np.testing.assert_array_equal(index.gallery.units, ROWS[:10])
        assert index.contents.paths == [f"p/{number:03}.jpg" for number in range(10)]
    assert "damaged" in caplog.text
    (folder / FOLDER / "1.npy").write_bytes(b"short")
    np.testing.assert_array_equal(ExactIndex.open(folder).gallery.units, ROWS[:10])


def test_only_new_rows_are_read_for_a_new_version(folder):
    """The matrix of the next version takes over the rows it has: spoiling their vectors is not noticed."""
    read_store(folder)
    with Store(folder) as store:
        add(store, [20])
        store._connection.execute("UPDATE vectors SET vector = zeroblob(32) WHERE hash <> CAST('hash20' AS BLOB)")
    expected = np.concatenate([ROWS[20:21], ROWS[:10]])  # c/020.jpg comes before p/000.jpg
    np.testing.assert_array_equal(ExactIndex.open(folder).gallery.units, expected)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE examples SET label = CAST('b' AS BLOB) WHERE path = CAST('p/000.jpg' AS BLOB)", "row of the example"),
        ("UPDATE examples SET label = 5", "row of the example"),
        ("DELETE FROM examples WHERE path = CAST('p/003.jpg' AS BLOB)", "9 examples are found where 10"),
        ("DELETE FROM vectors WHERE key = 3", "is missing"),
        ("UPDATE vectors SET vector = zeroblob(32) WHERE key = 3", "is damaged"),
        ("UPDATE vectors SET vector = 'text' WHERE key = 3", "is damaged"),
        ("DELETE FROM vectors", "is missing"),
        ("UPDATE meta SET value = CAST('{}' AS BLOB)", "is damaged"),
        ("DELETE FROM meta", "never finished"),
        ("CREATE VIEW more AS SELECT * FROM examples", "its tables are others"),
        ("CREATE TRIGGER t AFTER INSERT ON meta BEGIN DELETE FROM vectors; END", "its tables are others"),
        ("DROP TABLE vectors", "its tables are others"),
        ("PRAGMA user_version=99", "format version 99"),
        ("PRAGMA application_id=1", "not an index of this program"),
    ],
)
def test_a_tampered_database_is_refused(folder, statement, said):
    """Whatever is changed in the database behind the program's back is noticed when it is read."""
    for file in (folder / FOLDER).glob("*"):
        file.unlink()
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute(statement)
    connection.close()
    with pytest.raises(IndexFileError) as caught:
        ExactIndex.open(folder).gallery  # noqa: B018
    assert said in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"SQLite format 3\0" + bytes(84), os.urandom(5000)])
def test_another_file_in_its_place(tmp_path, content):
    """What is no database, or one without our tables, is refused in words."""
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(IndexFileError, match=r"index\.sqlite|doctor"):
        read_index(tmp_path)


def test_ids_cannot_lead_outside(folder):
    """An id with .. in it is refused by the reader, whoever wrote it."""
    with Store(folder) as store:
        store.commit(Change([replace(record(3), path="../../etc/passwd")]), store.manifest())
    with pytest.raises(IndexFileError, match="leads out of the corpus"):
        read_store(folder)


def test_a_folder_that_cannot_be_written_is_read(folder):
    """A read-only index answers, even with no derived files; changing it says that it cannot be changed."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        Path(name).chmod(0o755)
        copy = shutil.copytree(folder, Path(name) / "index")
        for path in (*copy.iterdir(), copy):
            path.chmod(0o444 if path.is_file() else 0o555)
        done = subprocess.run([sys.executable, "-c", AS_NOBODY, str(copy)], capture_output=True, text=True, check=False)
        assert done.stdout.startswith("10 (10, 8)"), done.stderr
        assert "cannot be changed" in done.stdout
        assert not (copy / FOLDER).exists()
        copy.chmod(0o755)


AS_NOBODY = """
import os, sys
from pathlib import Path
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.index.storage.store import Store
if os.geteuid() == 0:  # permissions do not bind root
    os.setuid(65534)
index = ExactIndex.open(Path(sys.argv[1]))
print(len(index), index.gallery.units.shape)
try:
    Store(Path(sys.argv[1]))
except IndexFileError as error:
    print(error)
"""
