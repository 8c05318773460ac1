"""Rows that were read once come from files of this machine; see the contract in tests/contracts/test_row_store.py."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from lmm_classifier.core.protocols import RowStore
from lmm_classifier.index.backends import cached_rows
from lmm_classifier.index.backends.cached_rows import CachedRowStore, rows_near_here
from lmm_classifier.index.backends.memory_rows import MemoryRowStore
from lmm_classifier.index.backends.row_pages import RowPages
from tests.contracts.test_readers import needs
from tests.helpers.remote_sources import s3_server
from tests.helpers.row_stores import drawn_index

ROWS, DIM, OF_PAGE = 100, 8, 16
INDEX = drawn_index(3, ROWS, 5, DIM)


@dataclass
class Counting:
    """A store that notes which vectors and norms are asked of it."""

    rows: RowStore
    asked: list = field(default_factory=list)

    def __getattr__(self, name):
        return getattr(self.rows, name)

    def with_norms(self, metric, norms, *, store=True):
        return Counting(self.rows.with_norms(metric, norms, store=store), self.asked)

    def rows_of_ids(self, ids, columns):
        self.asked += [(column, row) for column in columns for row in np.asarray(ids).tolist()]
        return self.rows.rows_of_ids(ids, columns)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(cached_rows, "_PAGE_BYTES", 4 * DIM * OF_PAGE)


@pytest.fixture
def pages(tmp_path):
    return RowPages(tmp_path / "pages")


def sums(rows):
    return np.abs(rows).sum(axis=1, dtype=np.float64)


def test_a_row_is_read_once_with_its_page(pages):
    """By whatever process: the pages are on disk."""
    first, again = Counting(MemoryRowStore(INDEX)), Counting(MemoryRowStore(INDEX))
    ids = np.array([40, 3, 3])
    read = CachedRowStore(first, pages, "there").rows_of_ids(ids, ("vectors",))
    assert sorted(first.asked) == [("vectors", row) for row in [*range(16), *range(32, 48)]]
    same = CachedRowStore(again, RowPages(pages.folder), "there").rows_of_ids(ids, ("vectors",))
    assert again.asked == []
    assert np.array_equal(read.vectors, same.vectors)
    assert np.array_equal(read.vectors, first.rows.rows_of_ids(ids, ("vectors",)).vectors)


def test_another_store_or_metric_has_pages_of_its_own(pages):
    """Never are rows taken for those of another place, version or metric."""
    one, other = Counting(MemoryRowStore(INDEX)), Counting(MemoryRowStore(drawn_index(4, ROWS, 5, DIM)))
    ids = np.arange(ROWS)
    for store, place in ((one, "a"), (other, "a"), (one, "b")):
        store.asked.clear()
        found = CachedRowStore(store, pages, place).rows_of_ids(ids, ("vectors",))
        assert len(store.asked) == ROWS
        assert np.array_equal(found.vectors, store.rows.rows_of_ids(ids, ("vectors",)).vectors)
    cached = CachedRowStore(one, pages, "a")
    once = cached.with_norms("sums", sums).rows_of_ids(ids, ("norms",)).norms
    twice = cached.with_norms("doubled", lambda rows: 2 * sums(rows)).rows_of_ids(ids, ("norms",)).norms
    assert np.array_equal(2 * once, twice)


def test_what_is_not_cached_is_asked_of_the_store(pages):
    """Paths and contents; a store without norms says so."""
    store = Counting(MemoryRowStore(INDEX))
    cached = CachedRowStore(store, pages, "there")
    assert (
        cached.rows_of_ids(np.array([5]), ("paths",)).paths == store.rows.rows_of_ids(np.array([5]), ("paths",)).paths
    )
    assert not cached.has_norms
    with pytest.raises(ValueError, match="norms"):
        cached.rows_of_ids(np.array([5]), ("norms",))


def test_where_nothing_can_be_written_rows_are_read_each_time(tmp_path, caplog):
    """With one warning."""
    (tmp_path / "file").write_text("no folder")
    store = Counting(MemoryRowStore(INDEX))
    cached = CachedRowStore(store, RowPages(tmp_path / "file"), "there")
    for _ in range(2):
        found = cached.rows_of_ids(np.array([1]), ("vectors",))
        assert np.array_equal(found.vectors, store.rows.rows_of_ids(np.array([1]), ("vectors",)).vectors)
    assert store.asked.count(("vectors", 1)) == 2
    assert len(caplog.records) == 1
    assert "cannot be kept" in caplog.records[0].message


def test_only_what_is_far_away_is_cached(tmp_path, monkeypatch):
    """A table in a folder is read where it is, and where there is no cache folder, so is all."""
    store = MemoryRowStore(INDEX)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert rows_near_here(store, str(tmp_path / "table.lance")) is store
    near = rows_near_here(store, "s3://bucket/table")
    assert isinstance(near, CachedRowStore)
    near.rows_of_ids(np.array([1]), ("vectors",))
    assert [path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*") if path.is_file()] == [
        ("lmm-classifier", "rows")
    ]


@pytest.mark.long
@needs("lance", "moto", "flask", "s3fs")
def test_a_table_on_an_object_store_is_read_once(tmp_path, monkeypatch):
    """The second classifier asks the object store for no vector of a label."""
    from lmm_classifier.index.backends.lance_table.copying import write_table
    from lmm_classifier.index.backends.lance_table.row_store import LanceRowStore

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with s3_server(tmp_path, monkeypatch) as bucket:
        write_table(f"{bucket}/table", INDEX.contents)
        for number in range(2):
            store = Counting(LanceRowStore.open(f"{bucket}/table"))
            near = rows_near_here(store, f"{bucket}/table")
            found = [block.vectors for block in near.rows_of_labels(np.array([1, 3]))]
            expected = [block.vectors for block in store.rows.rows_of_labels(np.array([1, 3]))]
            assert np.array_equal(np.concatenate(found), np.concatenate(expected))
            assert bool(store.asked) == (number == 0)
