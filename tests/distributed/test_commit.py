"""Chunks are committed once, whoever wrote them, and however often a program was killed between."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from lmm_classifier.core.errors import OutputError
from lmm_classifier.distributed import commit as module
from lmm_classifier.distributed.build import build_table
from lmm_classifier.distributed.chunk_folder import ChunkFolder
from lmm_classifier.distributed.commit import Writer, WriterBuilder, WriteTask, commit_chunks
from lmm_classifier.distributed.engines.local import InProcess, Processes
from lmm_classifier.distributed.statistics.table_statistics import store_statistics
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


def test_a_task_that_was_done_twice_is_committed_once(chunks, monkeypatch):
    """Two outcomes of it come, each with files of its own, in one version."""
    table, folder, files = chunks
    monkeypatch.setattr(module, "_CHUNKS", 2)

    class Twice(InProcess):
        def run(self, tasks, build):
            for task in tasks:
                yield from super().run([task, task], build)

    commit_chunks(table, folder, files, ROW_BYTES, Twice())
    assert table.committed_chunks() == set(files)
    assert counted(table)[0] == sum(files.values())


_KILLED = """
import json, os, signal, sys
from lmm_classifier.distributed import commit
from lmm_classifier.distributed.chunk_folder import ChunkFolder
from lmm_classifier.distributed.engines.local import InProcess
from lmm_classifier.index.backends.lance_table.arrivals import Arrivals
from lmm_classifier.index.backends.lance_table.row_store import LanceRowStore
from lmm_classifier.index.backends.lance_table.table import LanceTable

commit._CHUNKS, commit._PARTS = 2, 2
url, step, files = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
method, calls = getattr(Arrivals, step), []

def killed(self, *given):
    calls.append(given)
    if step == "commit_written" and len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    result = method(self, *given)
    if step == "_note" and len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(Arrivals, step, killed)
commit.commit_chunks(LanceTable.open(url), ChunkFolder(url), files, 192, InProcess())
"""


@pytest.mark.long
@pytest.mark.parametrize("step", ["commit_written", "_note"])
def test_a_driver_that_is_killed_between_writing_and_committing(chunks, step):
    """By SIGKILL: before the second version is noted, and after. Nothing is lost, and nothing is there twice."""
    table, folder, files = chunks
    command = [sys.executable, "-c", _KILLED, table.url, step, json.dumps(files)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(LanceTable.open(table.url).committed_chunks()) == 4
    commit_chunks(table, folder, files, ROW_BYTES, InProcess())
    assert LanceTable.open(table.url).committed_chunks() == set(files)
    assert counted(table)[0] == sum(files.values())


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:lance is not fork-safe")  # Ray starts programs, which are no forks that go on
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["processes", "ray"])
def test_workers_that_are_killed_lose_and_double_nothing(built, chunks, tmp_path, monkeypatch, kind):
    """One that writes, one that sorts, and one that adds up: when its files are there and nobody knows it."""
    table, folder, files = chunks
    monkeypatch.setattr(module, "_CHUNKS", 2)
    engine = EndingEngine(engine_of(kind), tmp_path / "marks")
    commit_chunks(table, folder, files, ROW_BYTES, engine)
    table.finish(engine=engine, bucket_bytes=4 * ROW_BYTES)
    store_statistics(table.url, engine)
    assert len(list((tmp_path / "marks").iterdir())) == 3
    assert counted(table)[0] == sum(files.values())
    assert rows_of_table(table.url) == rows_of_table(built)
    store = LanceRowStore.open(table.url)
    vectors = np.concatenate([block.vectors for block in store.blocks(("vectors",))]).astype(np.float64)
    np.testing.assert_allclose(store.sums().products, vectors.T @ vectors, rtol=0, atol=1e-12)


def engine_of(kind):
    if kind == "processes":
        return Processes(2)
    pytest.importorskip("ray", reason="ray is not installed")
    from lmm_classifier.distributed.engines.ray_engine import RayEngine

    return RayEngine(actors=2)


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
