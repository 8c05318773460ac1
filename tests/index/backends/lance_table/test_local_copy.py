"""The local copy of a table: made once, checked, bounded, and never needed."""

import shutil

import numpy as np
import pytest

from lmm_classifier.index.backends.lance_table import local_copy
from lmm_classifier.index.backends.lance_table.table import LanceTable
from lmm_classifier.index.vector_index import Index
from tests.helpers.row_stores import chunk, drawn_index, manifest_of

pytest.importorskip("lance", reason="needs lance")

INDEX = drawn_index(5, 80, 4, 16, copies=6)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/lmm-classifier/tables"


@pytest.fixture
def table(tmp_path, cache):
    INDEX.save(tmp_path / "t.lance")
    return tmp_path / "t.lance"


def same_as_before(index):
    order = np.argsort(np.array(INDEX.contents.paths))
    return (
        list(index.contents.paths) == sorted(INDEX.contents.paths)
        and list(index.hashes) == [INDEX.hashes[row] for row in order]
        and index.gallery.embeddings.tobytes() == INDEX.gallery.embeddings[order].tobytes()
        and index.vectors().tobytes() == INDEX.gallery.embeddings[order].tobytes()
    )


def test_a_table_answers_as_the_index_that_it_was_made_of(table, tmp_path):
    """Bit for bit, with the evidence."""
    INDEX.save(tmp_path / "durable")
    index, durable = Index.open(table), Index.open(tmp_path / "durable")
    assert same_as_before(index)
    queries = INDEX.gallery.embeddings[:9]
    assert index.search(queries, 5) == durable.search(queries, 5)


def test_the_copy_is_made_once(table, cache, monkeypatch):
    """Then the rows of the table are not read any more."""
    Index.open(table)
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(local_copy._Reader, "_batches", None)
    assert same_as_before(Index.open(table))


def test_a_damaged_copy_is_made_again(table, cache):
    """A changed bit of a vector, and a table file that is cut."""
    Index.open(table)
    (matrix,) = cache.glob("*/derived/*.npy")
    data = bytearray(matrix.read_bytes())
    data[200] ^= 1
    matrix.write_bytes(data)
    assert same_as_before(Index.open(table))
    (file,) = cache.glob("*/derived/*.table")
    file.write_bytes(file.read_bytes()[:-3])
    assert same_as_before(Index.open(table))


def test_a_new_version_replaces_the_copy(tmp_path, cache):
    """There is one copy of a table."""
    table = LanceTable.create(str(tmp_path / "t.lance"), manifest_of())
    table.commit({"a": chunk("a", 10)})
    table.finish()
    assert len(Index.open(table.url)) == 10
    table.commit({"b": chunk("b", 5, label="dog")})
    assert len(Index.open(table.url)) == 10
    table.finish()
    assert len(Index.open(table.url)) == 15
    assert len(list(cache.glob("*/derived/*.table"))) == 1


def test_copies_that_were_not_used_make_room(table, tmp_path, cache, monkeypatch):
    """The one that is needed is kept, whatever its size."""
    Index.open(table)
    shutil.copytree(table, tmp_path / "u.lance")
    monkeypatch.setattr(local_copy, "_MOST", 1)
    assert same_as_before(Index.open(tmp_path / "u.lance"))
    assert len(list(cache.iterdir())) == 1


def test_without_a_cache_the_table_is_in_memory(table, monkeypatch):
    """Where the folder cannot be written, too."""
    monkeypatch.setattr(local_copy, "user_cache", lambda: None)
    assert same_as_before(Index.open(table))


def test_a_cache_that_cannot_be_written(table, cache):
    """It is a file here."""
    cache.parent.mkdir(parents=True)
    cache.write_text("no folder")
    assert same_as_before(Index.open(table))


def test_two_examples_with_one_id_are_damage(tmp_path, cache):
    """The message names the id."""
    table = LanceTable.create(str(tmp_path / "t.lance"), manifest_of())
    table.commit({"a": chunk("a", 3), "b": chunk("b", 3)})
    other = chunk("c", 3)
    table.commit({"c": other.set_column(other.column_names.index("path"), "path", chunk("a", 3)["path"])})
    table.finish()
    with pytest.raises(ValueError, match="two examples with the id 'cat/a0.jpg'"):
        Index.open(table.url)
