"""Chunks are committed once, whoever wrote them, and however often a program was killed between."""

import math
import os
import shutil
import signal
import subprocess
import sys

import pytest

from lmm_classifier.core.errors import OutputError
from lmm_classifier.distributed import commit as module
from lmm_classifier.distributed.build import build_table
from lmm_classifier.distributed.chunk_folder import ChunkFolder
from lmm_classifier.distributed.commit import Writer, WriterBuilder, WriteTask, commit_chunks
from lmm_classifier.distributed.engines.local import InProcess, Processes
from tests.helpers.chunked_builds import rows_of_table
from tests.helpers.ending_workers import EndingEngine
from tests.helpers.paths import ROOT

pytest.importorskip("lance", reason="lance is not installed")

from lmm_classifier.index.backends.lance_table.row_store import LanceRowStore
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


def test_a_task_that_is_done_twice_is_committed_once(chunks, monkeypatch):
    """In one version, or in two."""
    table, folder, files = chunks
    monkeypatch.setattr(module, "_CHUNKS", 2)
    monkeypatch.setattr(module, "_PARTS", 3)

    class Twice(InProcess):
        def run(self, tasks, build):
            tasks = list(tasks)
            yield from super().run([task for task in tasks for _ in range(2)], build)

    commit_chunks(table, folder, files, ROW_BYTES, Twice())
    assert table.committed_chunks() == set(files)
    assert counted(table)[0] == sum(files.values())


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:lance is not fork-safe")  # Ray starts programs, which are no forks of this one
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["processes", "ray"])
def test_workers_that_are_killed_lose_and_double_nothing(labeled, tmp_path, monkeypatch, kind):
    """One in each step, when its files are written and nobody knows it: encoding, committing, sorting, adding up."""
    if kind == "ray":
        pytest.importorskip("ray", reason="ray is not installed")
        from lmm_classifier.distributed.engines.ray_engine import RayEngine
    monkeypatch.setattr(module, "_CHUNKS", 2)
    monkeypatch.setattr("lmm_classifier.distributed.build.FewHere", lambda engine: engine)
    engine = EndingEngine(Processes(2) if kind == "processes" else RayEngine(actors=2), tmp_path / "marks")
    build_table(labeled.root, str(tmp_path / "table"), labeled.config, engine, chunk_files=4, threads=1)
    assert len(list((tmp_path / "marks").iterdir())) == 4
    build_table(labeled.root, str(tmp_path / "expected"), labeled.config, InProcess())
    assert rows_of_table(tmp_path / "table") == rows_of_table(tmp_path / "expected")
    found, expected = (LanceRowStore.open(str(tmp_path / name)) for name in ("table", "expected"))
    assert found.version == expected.version
    assert found.sums().products.tobytes() == expected.sums().products.tobytes()


_KILLED = """
import os, signal, sys
from lmm_classifier.distributed import commit
from lmm_classifier.distributed.chunk_folder import ChunkFolder
from lmm_classifier.distributed.engines.local import InProcess
from lmm_classifier.index.backends.lance_table.table import LanceTable

commit._CHUNKS, commit._PARTS = 2, 2
url, when = sys.argv[1:]
folder = ChunkFolder(url)
files = {chunk.stem: folder.table(chunk).num_rows for chunk in folder.stored().values()}
store, calls = LanceTable.commit_written, []

def killed(self, parts):
    calls.append(parts)
    if len(calls) == 2 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = store(self, parts)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

LanceTable.commit_written = killed
commit.commit_chunks(LanceTable.open(url), folder, files, 192, InProcess())
"""


@pytest.mark.long
@pytest.mark.parametrize(("when", "there"), [("before", 4), ("after", 8)])
def test_a_program_that_is_killed_around_a_commit(chunks, when, there):
    """By SIGKILL: before the second version, and after it."""
    table, folder, files = chunks
    command = [sys.executable, "-c", _KILLED, table.url, when]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    again = LanceTable.open(table.url)
    assert len(again.committed_chunks()) == there
    commit_chunks(again, folder, files, ROW_BYTES, InProcess())
    assert again.committed_chunks() == set(files)
    assert counted(again)[0] == sum(files.values())
