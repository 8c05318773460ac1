"""Chunks are committed once, whoever wrote them, and however often a program was killed between."""

import math
import shutil

import pytest

from lmm_classifier.core.errors import OutputError
from lmm_classifier.distributed import commit as module
from lmm_classifier.distributed.build import build_table
from lmm_classifier.distributed.chunk_folder import ChunkFolder
from lmm_classifier.distributed.commit import Writer, WriterBuilder, WriteTask, commit_chunks
from lmm_classifier.distributed.engines.local import InProcess, Processes

pytest.importorskip("lance", reason="lance is not installed")

from lmm_classifier.index.backends.lance_table.table import LanceTable

ROW_BYTES = 4 * 48


@pytest.fixture(scope="module")
def built(labeled, tmp_path_factory):
    """A built table of chunks of four files."""
    folder = tmp_path_factory.mktemp("built") / "table"
    build_table(labeled.root, str(folder), labeled.config, InProcess(), chunk_files=4)
    return folder


@pytest.fixture
def chunks(built, tmp_path):
    """The same chunks next to a table that has none of them, and the number of files of each."""
    shutil.copytree(built, tmp_path / "table", ignore=shutil.ignore_patterns("*.lance"))
    table = LanceTable.create(str(tmp_path / "table"), LanceTable.open(str(built)).manifest)
    folder = ChunkFolder(table.url)
    stems = LanceTable.open(str(built)).committed_chunks()
    return table, folder, {stem: folder.table(module.stored_chunk(stem)).num_rows for stem in stems}


def counted(table):
    """The rows that are committed, and the versions that it took."""
    dataset = LanceTable.open(table.url)._arrivals.dataset
    return dataset.count_rows(), len(dataset.versions()) - 1


@pytest.mark.parametrize(("together", "parts"), [(2, 3), (64, 64)])
def test_each_chunk_is_committed_once(chunks, monkeypatch, together, parts):
    """Several of them in a file, several files in a version; committed again, nothing changes."""
    table, folder, files = chunks
    monkeypatch.setattr(module, "_CHUNKS", together)
    monkeypatch.setattr(module, "_PARTS", parts)
    versions = math.ceil(math.ceil(len(files) / together) / parts)
    for _ in range(2):
        commit_chunks(table, folder, files, ROW_BYTES, InProcess())
        assert table.committed_chunks() == set(files)
        assert counted(table) == (sum(files.values()), versions)


def test_memory_bounds_what_is_written_together(chunks, monkeypatch):
    """A worker reads no more rows at once."""
    table, folder, files = chunks
    monkeypatch.setattr(module, "_BYTES", 8 * ROW_BYTES)

    class Watched(InProcess):
        def run(self, tasks, build):
            tasks = list(tasks)
            assert all(sum(count for _, count in task.files) <= 8 for task in tasks)
            assert len(tasks) > 3
            return super().run(tasks, build)

    commit_chunks(table, folder, files, ROW_BYTES, Watched())
    assert counted(table)[0] == sum(files.values())


def test_files_that_no_version_has_cost_nothing(chunks):
    """A program that was killed between writing and committing leaves no row."""
    table, folder, files = chunks
    Writer(folder, table)(WriteTask(tuple(files.items())))
    assert counted(table) == (0, 0)
    commit_chunks(table, folder, files, ROW_BYTES, InProcess())
    assert counted(table)[0] == sum(files.values())


def test_what_another_program_committed_meanwhile_is_not_there_twice(chunks):
    """The others of its group are committed all the same."""
    table, folder, files = chunks
    some = dict(list(files.items())[::2])

    class Late(InProcess):
        def run(self, tasks, build):
            for written in super().run(tasks, build):
                commit_chunks(LanceTable.open(table.url), folder, some, ROW_BYTES, InProcess())
                yield written

    commit_chunks(table, folder, files, ROW_BYTES, Late())
    assert table.committed_chunks() == set(files)
    assert counted(table)[0] == sum(files.values())


def test_a_chunk_that_lost_rows_is_an_error(chunks):
    """It names the chunk, and says what to do."""
    table, folder, files = chunks
    stem = min(files)
    with pytest.raises(OutputError, match=rf"Chunk {stem} has \d rows, and 9 files. Delete it"):
        commit_chunks(table, folder, {**files, stem: 9}, ROW_BYTES, InProcess())


@pytest.mark.long
@pytest.mark.parametrize("kind", ["processes", "ray"])
def test_workers_write_the_rows(chunks, monkeypatch, kind):
    """In processes, and by Ray: what they return is committed."""
    if kind == "ray":
        pytest.importorskip("ray", reason="ray is not installed")
        from lmm_classifier.distributed.engines.ray_engine import RayEngine
    table, folder, files = chunks
    monkeypatch.setattr(module, "_CHUNKS", 2)
    commit_chunks(table, folder, files, ROW_BYTES, Processes(2) if kind == "processes" else RayEngine(actors=2))
    assert counted(table) == (sum(files.values()), 1)
    assert WriterBuilder(table.url)().table.committed_chunks() == set(files)
