"""The durable index: each change is atomic, and each reader sees one version."""

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
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.doctor import check_index
from lmm_classifier.index.formats import read_index
from lmm_classifier.index.storage import database
from lmm_classifier.index.storage.database import FILE
from lmm_classifier.index.storage.editing.change import Change
from lmm_classifier.index.storage.reader import read_store
from lmm_classifier.index.storage.records import FROM_FOLDER, Record
from lmm_classifier.index.storage.snapshot import FOLDER
from lmm_classifier.index.storage.store import Store
from lmm_classifier.index.vector_index import Index
from lmm_classifier.testing import random_embeddings
from tests.contracts.test_index import write
from tests.helpers.vector_indexes import write_encoders

DIM = 8
ROWS = random_embeddings(np.random.default_rng(0), 50, DIM)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "index", ROWS[:10])


def record(number, label="c"):
    return Record(f"{label}/{number:03}.jpg", label, f"hash{number}", 1, 2, "2026-01-01", FROM_FOLDER)


def add(store, numbers, **more):
    manifest = store.manifest()
    store.put_vectors({manifest.space_ids[0]: [(f"hash{number}", ROWS[number]) for number in numbers]})
    store.commit(Change([record(number) for number in numbers], **more), manifest)
    return store.state


def test_a_commit_makes_a_new_version(folder):
    """Rows are sorted by id, and each has its own vector."""
    with Store(folder) as store:
        add(store, [30, 20])
    contents = read_store(folder)
    assert contents.version == 2
    assert contents.paths == sorted(contents.paths)
    index = Index.open(folder)
    assert index.manifest.count == len(index) == 12
    for number in (20, 30, 3):
        row = index.hashes.index(f"hash{number}")
        np.testing.assert_array_equal(index.gallery.embeddings[row], ROWS[number])
        np.testing.assert_array_equal(index.vectors()[row], ROWS[number])


def test_vectors_alone_make_no_new_version(folder):
    """They are stored, but no reader sees them before the examples change."""
    with Store(folder) as store:
        store.put_vectors({store.manifest().space_ids[0]: [("hash40", ROWS[40])]})
    assert read_store(folder).version == 1
    with Store(folder) as store:
        assert "hash40" in store.encoded_hashes(store.manifest().space_ids[0])


def test_examples_are_dropped_and_replaced(folder):
    """The digest then equals that of a new index."""
    with Store(folder) as store:
        before = store.state
        add(store, [20, 21])
        add(store, [], drop=["c/020.jpg", "c/021.jpg", "never/there.jpg"], tidy=True)
        assert (store.state.digest, store.state.contents) == (before.digest, before.contents)
        assert "hash20" not in store.encoded_hashes(store.manifest().space_ids[0])
        changed = replace(record(20), path="p/000.jpg")
        store.put_vectors({store.manifest().space_ids[0]: [("hash20", ROWS[20])]})
        store.commit(Change([changed]), store.manifest())
    contents = read_store(folder)
    assert contents.hashes[0] == "hash20"
    assert contents.labels[0] == "c"
    assert len(contents.paths) == 10


def test_an_open_index_does_not_change(folder):
    """Not even when a writer removes the old derived files."""
    lazy, used = Index.open(folder), Index.open(folder)
    np.testing.assert_array_equal(used.gallery.embeddings, ROWS[:10])
    with Store(folder) as store:
        add(store, range(20, 40))
        store.contents()
        add(store, [41])
        store.contents()
    assert {file.name for file in (folder / FOLDER).iterdir()} == {"3.0.npy", "3.table"}
    for index in (lazy, used):
        assert len(index) == 10
        np.testing.assert_array_equal(index.gallery.embeddings, ROWS[:10])
    assert len(Index.open(folder)) == 31


def test_readers_see_complete_versions_while_a_writer_commits(folder):
    """Every commit adds five examples."""
    versions, errors, done = [], [], threading.Event()

    def read():
        try:
            while not done.is_set():
                index = Index.open(folder)
                versions.append((index.contents.version, len(index), len(index.gallery.embeddings)))
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
    assert versions
    assert all(count == rows == 10 + 5 * (version - 1) for version, count, rows in versions)


def test_there_is_one_writer_at_a_time(folder):
    """A second writer waits, and then gets an error."""
    with Store(folder), pytest.raises(IndexFileError, match="Another program has been changing"):
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


def test_the_lock_holds_between_processes(folder):
    """A killed process releases it."""
    code = (
        "import sys, time; from pathlib import Path; from lmm_classifier.index.storage.store import Store\n"
        "store = Store(Path(sys.argv[1])); print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(IndexFileError, match="Another program"):
            Store(folder, wait=0.1)
        process.kill()
    with Store(folder, wait=5) as store:
        add(store, [20])


def test_damaged_derived_files_are_made_again(folder, caplog):
    """A flipped bit in the matrix or the table causes a warning, but no wrong result."""
    for name, place in (("1.0.npy", 200), ("1.table", 30), ("1.table", -10), ("1.0.npy", 20)):
        file = folder / FOLDER / name
        if not file.exists():
            read_store(folder)
        data = bytearray(file.read_bytes())
        data[place] ^= 8
        file.write_bytes(data)
        index = Index.open(folder)
        np.testing.assert_array_equal(index.gallery.embeddings, ROWS[:10])
        assert index.contents.paths == [f"p/{number:03}.jpg" for number in range(10)]
    assert "damaged" in caplog.text
    (folder / FOLDER / "1.0.npy").write_bytes(b"short")
    np.testing.assert_array_equal(Index.open(folder).gallery.embeddings, ROWS[:10])


def test_a_new_version_reads_only_the_vectors_of_new_rows(folder):
    """The other rows come from the former matrix, so their overwritten vectors have no effect."""
    read_store(folder)
    with Store(folder) as store:
        add(store, [20])
        store._connection.execute("UPDATE vectors SET vector = zeroblob(32) WHERE hash <> CAST('hash20' AS BLOB)")
    expected = np.concatenate([ROWS[20:21], ROWS[:10]])  # c/020.jpg comes before p/000.jpg
    np.testing.assert_array_equal(Index.open(folder).gallery.embeddings, expected)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE examples SET label = CAST('b' AS BLOB) WHERE path = CAST('p/000.jpg' AS BLOB)", "row of the example"),
        ("UPDATE examples SET label = 5", "row of the example"),
        ("DELETE FROM examples WHERE path = CAST('p/003.jpg' AS BLOB)", "9 examples, but 10 were written"),
        ("DELETE FROM vectors WHERE key = 3", "is missing"),
        ("UPDATE vectors SET vector = zeroblob(32) WHERE key = 3", "is damaged"),
        ("UPDATE vectors SET vector = 'text' WHERE key = 3", "is damaged"),
        ("DELETE FROM vectors", "is missing"),
        ("UPDATE meta SET value = CAST('{}' AS BLOB)", "is damaged"),
        ("DELETE FROM meta", "did not finish"),
        ("CREATE VIEW more AS SELECT * FROM examples", "it has other tables"),
        ("CREATE TRIGGER t AFTER INSERT ON meta BEGIN DELETE FROM vectors; END", "it has other tables"),
        ("DROP TABLE vectors", "it has other tables"),
        ("PRAGMA user_version=99", "index format 99"),
        ("PRAGMA application_id=1", "not an index of this program"),
    ],
)
def test_a_manipulated_database_is_rejected(folder, statement, message):
    """Any change of the database by another program is detected when it is read."""
    for file in (folder / FOLDER).glob("*"):
        file.unlink()
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute(statement)
    connection.close()
    with pytest.raises(IndexFileError) as caught:
        Index.open(folder).gallery  # noqa: B018
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"SQLite format 3\0" + bytes(84), os.urandom(5000)])
def test_another_file_in_its_place_is_rejected(tmp_path, content):
    """A file that is no database, or a database without our tables."""
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(IndexFileError, match=r"index\.sqlite|doctor"):
        read_index(tmp_path)


def test_ids_cannot_lead_out_of_the_dataset(folder):
    """The reader rejects an id with `..` in it."""
    with Store(folder) as store:
        store.commit(Change([replace(record(3), path="../../etc/passwd")]), store.manifest())
    with pytest.raises(IndexFileError, match="leads out of the dataset"):
        read_store(folder)


def test_a_read_only_index_can_be_opened(folder):
    """Even without derived files; changing it is an error."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        Path(name).chmod(0o755)
        copy = shutil.copytree(folder, Path(name) / "index")
        for path in (*copy.iterdir(), copy):
            path.chmod(0o444 if path.is_file() else 0o555)
        process = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(copy)], capture_output=True, text=True, check=False
        )
        assert process.stdout.startswith("10 (10, 8)"), process.stderr
        assert "cannot be changed" in process.stdout
        assert not (copy / FOLDER).exists()
        copy.chmod(0o755)


AS_NOBODY = """
import os, sys
from pathlib import Path
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.vector_index import Index
from lmm_classifier.index.storage.editing.change import Change
from lmm_classifier.index.storage.store import Store
if os.geteuid() == 0:  # permissions do not bind root
    os.setuid(65534)
index = Index.open(Path(sys.argv[1]))
print(len(index), index.gallery.embeddings.shape)
try:
    Store(Path(sys.argv[1]))
except IndexFileError as error:
    print(error)
"""


@pytest.fixture
def several(tmp_path):
    """An index of ten examples with vectors of two encoders."""
    return write_encoders(tmp_path / "several", "ababababab", [ROWS[:10], -ROWS[10:20]])


def test_vectors_are_stored_by_encoder(several):
    """Each has its own contents, and a vector is replaced by the next one of the same content and encoder."""
    with Store(several) as store:
        first, second = store.manifest().space_ids
        store.put_vectors({first: [("new", ROWS[30])], second: []})
        store.put_vectors({second: [("other", ROWS[31])], "third": [("new", ROWS[32])]})
        assert store.encoded_hashes(first) - store.encoded_hashes(second) == {"new"}
        assert store.encoded_hashes(second) - store.encoded_hashes(first) == {"other"}
        assert store.encoded_hashes("third") == {"new"}
        store.put_vectors({first: [("new", ROWS[33])]})
        (block,) = store.rows(first, DIM, ["new"])()
        np.testing.assert_array_equal(block, ROWS[33:34])


def test_tidying_drops_the_vectors_of_other_encoders(several):
    """And those without an example; without it all stay, so that an interrupted run loses nothing."""
    with Store(several) as store:
        manifest = store.manifest()
        first, second = manifest.space_ids
        store.put_vectors({second: [("no example", ROWS[30])]})
        one = replace(manifest, encoders=manifest.encoders[1:])
        store.commit(Change([], transforms=[IdentityTransform()]), one)
        assert (len(store.encoded_hashes(first)), len(store.encoded_hashes(second))) == (10, 11)
        store.commit(Change([], transforms=[IdentityTransform()], tidy=True), one)
        assert (len(store.encoded_hashes(first)), len(store.encoded_hashes(second))) == (0, 10)
    (index,) = Index.open_each(several)
    np.testing.assert_array_equal(index.gallery.embeddings, -ROWS[10:20])


def test_the_time_of_each_encoder_is_the_mean_over_all_images(several):
    """Over all calls; no answer depends on it, so the version stays, and damage only loses it."""
    first, second = read_store(several).manifest.space_ids
    with Store(several) as store:
        store.put_vectors({}, times={first: (1.0, 10), second: (0.0, 0)})
        store.put_vectors({}, times={first: (3.0, 30), second: (0.5, 1)})
    contents = read_store(several)
    assert contents.milliseconds == pytest.approx({first: 100.0, second: 500.0})
    assert contents.version == 1
    for damaged in (b"{}", b'{"a": 3}', b'{"a": [1]}', b"[]", b"nonsense", b'{"a": ["x", 2]}'):
        with Store(several) as store, store._changing():
            database.set_meta(store._connection, "times", damaged)
        assert read_store(several).milliseconds == {}
        assert [finding.severity for finding in check_index(several)] == ["note"]  # there is no dataset folder


def test_the_file_shrinks_when_an_encoder_is_dropped(tmp_path):
    """Its vectors are gone from the disk too; the rest is as it was, also for a reader that has it open."""
    rows = np.random.default_rng(0).normal(size=(400, 512)).astype(np.float32)
    folder = write_encoders(tmp_path / "index", "ab" * 200, [rows, -rows])
    before = (folder / "index.sqlite").stat().st_size
    reader = read_store(folder)
    with Store(folder) as store:
        manifest = store.manifest()
        store.commit(
            Change([], transforms=[IdentityTransform()], tidy=True), replace(manifest, encoders=manifest.encoders[:1])
        )
    assert (folder / "index.sqlite").stat().st_size < 0.6 * before
    after = read_store(folder)
    assert after.hashes == reader.hashes
    for now, former in zip(after.vectors[0].blocks(), reader.vectors[0].blocks(), strict=True):
        np.testing.assert_array_equal(now, former)
