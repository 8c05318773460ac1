"""Chunks are there once, whatever a store answers and whoever commits them."""

import os
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from lmm_classifier.core.errors import IndexFileError, IndexMismatchError
from lmm_classifier.index.backends.lance_table.table import LanceTable
from tests.contracts.test_readers import needs
from tests.helpers.faulty_proxy import faulty_proxy
from tests.helpers.remote_sources import s3_server
from tests.helpers.row_stores import chunk, manifest_of, stored_rows

pa = pytest.importorskip("pyarrow", reason="needs pyarrow")
pytest.importorskip("lance", reason="needs lance")


@pytest.fixture
def table(tmp_path):
    return LanceTable.create(str(tmp_path / "t.lance"), manifest_of())


def with_column(rows, name, values, kind):
    return rows.set_column(rows.column_names.index(name), name, pa.array(values, kind))


def rows_of(table):
    return LanceTable.open(table.url)._arrivals.dataset.count_rows()


def test_a_chunk_is_committed_once(table):
    """Again, in part, and by another process: nothing is there twice."""
    table.commit({"a": chunk("a", 5), "b": chunk("b", 3, bad=2)})
    table.commit({"b": chunk("b", 3, bad=2), "c": chunk("c", 1)})
    other = LanceTable.create(table.url, manifest_of())
    other.commit({"a": chunk("a", 5), "c": chunk("c", 1)})
    other.commit({})
    assert table.committed_chunks() == other.committed_chunks() == {"a", "b", "c"}
    assert rows_of(table) == 5 + 5 + 1


def test_what_was_written_elsewhere_is_committed_once(table):
    """However often; a part that holds a stored chunk next to a new one is given back."""
    first, second = table.write({"a": chunk("a", 5)}), table.write({"b": chunk("b", 3), "c": chunk("c", 2)})
    assert table.committed_chunks() == set()  # written, but in no version
    assert table.commit_written([first, second, first]) == []
    assert table.commit_written([first, second]) == []
    assert (rows_of(table), table.committed_chunks()) == (10, {"a", "b", "c"})
    again = table.write({"a": chunk("a", 5)})
    both = table.write({"c": chunk("c", 2), "d": chunk("d", 4)})
    assert table.commit_written([again, both]) == [both]
    assert (rows_of(table), table.committed_chunks()) == (10, {"a", "b", "c"})


def test_many_processes_may_commit_at_once(table):
    """No chunk is lost; what is there twice is dropped when the table is finished."""
    chunks = {f"chunk {number}": chunk(f"p{number}", 4, label=f"label {number % 3}") for number in range(12)}

    def commit(number):
        mine = LanceTable.open(table.url)
        for name in list(chunks)[number:] + list(chunks)[:number]:
            mine.commit({name: chunks[name]})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(commit, (0, 3, 6, 9)))
    assert table.committed_chunks() == chunks.keys()
    table.finish()
    assert len(stored_rows(table.url)) == 48


def test_a_chunk_that_cannot_be_stored_is_refused_whole(table):
    """The message says what was expected; nothing is stored."""
    with pytest.raises(IndexFileError, match="0 rows"):
        table.commit({"a": chunk("a", 2), "b": chunk("b", 0)})
    with pytest.raises(IndexFileError, match="Expected one row or more, with the columns content, path"):
        table.commit({"a": chunk("a", 2).drop_columns(["reason"])})
    with pytest.raises(IndexFileError, match="'' is no name"):
        table.commit({"": chunk("a", 2)})
    with pytest.raises(IndexFileError, match="Chunk a: its columns have other types"):
        table.commit({"a": chunk("a", 2, dim=9)})
    with pytest.raises(IndexFileError, match="Chunk a has a vector without the SHA-256"):
        table.commit({"a": with_column(chunk("a", 2), "content", [None, b"x" * 32], pa.binary(32))})
    with pytest.raises(IndexFileError, match="expected a vector or a kind of refusal in each row, not both"):
        table.commit({"a": with_column(chunk("a", 2), "kind", ["corrupt", None], pa.string())})
    with pytest.raises(IndexFileError, match="Chunk a has a vector with NaN"):
        table.commit({"a": with_column(chunk("a", 1), "vector", [[float("nan")] * 8], pa.list_(pa.float32(), 8))})
    assert table.committed_chunks() == set()


def test_the_table_of_another_encoder_is_refused(table):
    """Both encoders are named."""
    with pytest.raises(IndexMismatchError, match=r"revision 2|@2") as caught:
        LanceTable.create(table.url, manifest_of(revision="2"))
    assert table.url in str(caught.value)
    with pytest.raises(IndexFileError, match="was not found"):
        LanceTable.open(table.url + "x")


def after_a_manifest(seen):
    """The manifest is stored, but the store says that it is not."""

    def fault(method, path):
        is_manifest = method == "PUT" and "_versions" in path
        seen.extend([path] * is_manifest)
        return "after" if is_manifest and len(seen) % 2 else ""

    return fault, 500


def before_a_manifest(seen):
    """The manifest is not stored for five times."""

    def fault(method, path):
        is_manifest = method == "PUT" and "_versions" in path
        seen.extend([path] * is_manifest)
        return "before" if is_manifest and len(seen) <= 5 else ""

    return fault, 500


def some_requests(seen):
    """One request in twenty is refused."""
    rng = random.Random(1)

    def fault(method, path):
        is_spoiled = rng.random() < 0.05
        seen.extend([path] * is_spoiled)
        return "before" if is_spoiled else ""

    return fault, 503


@pytest.mark.long
@needs("moto", "flask", "s3fs", "boto3")
@pytest.mark.parametrize("faults", [after_a_manifest, before_a_manifest, some_requests])
def test_a_store_that_answers_wrongly(faults, tmp_path, monkeypatch):
    """Every row is there once, and the finished table is that of a sound store."""
    chunks = {f"c{number}": chunk(f"p{number}", 40, label=f"l{number % 3}") for number in range(12)}
    names = list(chunks)
    with s3_server(tmp_path, monkeypatch) as bucket:
        host, port = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://").split(":")
        url, seen = f"{bucket}/{faults.__name__}", []
        table = LanceTable.create(url, manifest_of())
        fault, status = faults(seen)
        with faulty_proxy(host, int(port), fault, status) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy)
            for first, second in zip(names[::2], names[1::2]):
                table.commit({first: chunks[first], second: chunks[second]})
            assert seen, "no request was spoiled"
            assert rows_of(table) == 480
            table.finish(bucket_bytes=32 * 90)
            found = stored_rows(url)
    sound = LanceTable.create(str(tmp_path / "sound.lance"), manifest_of())
    sound.commit(chunks)
    sound.finish()
    assert found == stored_rows(sound.url)
