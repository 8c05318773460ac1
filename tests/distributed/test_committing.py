"""Workers write the chunks, and each is in the table once, whoever is killed and whenever."""

import os
import signal
import subprocess
import sys

import pytest

from lmm_classifier.core.errors import OutputError
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.distributed import committing
from lmm_classifier.distributed.build import TableBuild, build_table
from lmm_classifier.distributed.chunk_folder import ChunkFolder
from lmm_classifier.distributed.committing import ChunkGroup, GroupWriterBuilder, chunk_groups, commit_chunks
from lmm_classifier.distributed.engines.local import InProcess, Processes
from lmm_classifier.distributed.engines.ray_engine import RayEngine
from lmm_classifier.index.backends.lance_table.row_store import LanceRowStore
from lmm_classifier.index.backends.lance_table.table import LanceTable
from tests.helpers.chunked_builds import rows_of_table
from tests.helpers.ending_workers import EndingEngine
from tests.helpers.paths import ROOT

pytest.importorskip("lance", reason="lance is not installed")


@pytest.fixture
def small(monkeypatch):
    """Groups of two chunks, and versions of two groups."""
    monkeypatch.setattr(committing, "_GROUP_CHUNKS", 2)
    monkeypatch.setattr(committing, "_COMMITTED", 4)


@pytest.fixture
def chunked(labeled, tmp_path, small, monkeypatch):
    """A table whose chunks are there, none of them committed; and the names of their files with their rows."""
    taken = {}

    def interrupted(table, stems, row_bytes, engine):
        taken.update(stems)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lmm_classifier.distributed.build.commit_chunks", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build(labeled, tmp_path / "table", InProcess())
    return LanceTable.open(str(tmp_path / "table")), taken


def build(labeled, output, engine):
    return build_table(labeled.root, str(output), labeled.config, engine, chunk_files=3)


def rows_at(url):
    return LanceTable.open(url)._arrivals.dataset.count_rows()


def versions_at(table):
    return LanceTable.open(table.url)._arrivals.dataset.version


def check_all(table, stems):
    assert table.committed_chunks() == LanceTable.open(table.url).committed_chunks() == set(stems)
    assert rows_at(table.url) == sum(stems.values())


def test_many_chunks_are_one_version(chunked):
    """Twice four chunks and more; again, nothing changes."""
    table, stems = chunked
    before = versions_at(table)
    commit_chunks(table, stems, 100, InProcess())
    check_all(table, stems)
    assert versions_at(table) == before + -(-len(stems) // 4)
    commit_chunks(LanceTable.open(table.url), stems, 100, InProcess())
    assert versions_at(table) == before + -(-len(stems) // 4)


def test_what_is_written_and_not_committed_is_written_again(chunked, monkeypatch):
    """After an interruption at the second version; each chunk is there once."""
    table, stems = chunked
    commit, calls = LanceTable.commit_written, []

    def interrupted(self, groups):
        calls.append(groups)
        if len(calls) == 2:
            raise KeyboardInterrupt
        commit(self, groups)

    with monkeypatch.context() as patch:
        patch.setattr(LanceTable, "commit_written", interrupted)
        with pytest.raises(KeyboardInterrupt):
            commit_chunks(table, stems, 100, InProcess())
    assert len(LanceTable.open(table.url).committed_chunks()) == 4
    again = LanceTable.open(table.url)
    commit_chunks(again, stems, 100, InProcess())
    check_all(again, stems)


def test_a_group_of_which_another_program_commits_a_chunk(chunked):
    """The others of it are written again, and that one is there once."""
    table, stems = chunked
    names, other = sorted(stems), LanceTable.open(table.url)

    class Meanwhile(InProcess):
        def run(self, tasks, build):
            for number, outcome in enumerate(super().run(tasks, build)):
                if number == 0:
                    alone = ChunkGroup(((names[1], stems[names[1]]),))
                    other.commit_written([GroupWriterBuilder(table.url)()(alone)])
                yield outcome
                yield outcome  # as of a task that was done twice

    commit_chunks(table, stems, 100, Meanwhile())
    check_all(table, stems)


def test_an_engine_that_loses_groups_is_found_out(chunked):
    """The chunks are named."""
    table, stems = chunked

    class Losing(InProcess):
        def run(self, tasks, build):
            yield from super().run(list(tasks)[1:], build)

    with pytest.raises(OutputError, match=f"chunks were not committed, such as {min(stems)}"):
        commit_chunks(table, {name: stems[name] for name in stems}, 100, _Never())
    commit_chunks(table, stems, 100, Losing())  # the last round has one group, which is done here
    check_all(table, stems)


class _Never:
    def run(self, tasks, build):
        return iter(())


def test_a_chunk_with_other_rows_than_files_is_an_error(chunked):
    """It is named, and nothing of its group is committed."""
    table, stems = chunked
    name = min(stems)
    with pytest.raises(OutputError, match=f"Chunk {name} has {stems[name]} rows, and 7 files"):
        commit_chunks(table, {**stems, name: 7}, 100, InProcess())
    assert name not in table.committed_chunks()


def test_groups_have_all_chunks_in_order():
    """None is larger than allowed but a chunk alone."""
    sizes = {f"{number:03}": number * 1000 for number in range(1, 200)}
    groups = list(chunk_groups(sorted(sizes), sizes, 4608))
    assert [chunk for group in groups for chunk in group.chunks] == sorted(sizes.items())
    for group in groups:
        assert len(group.chunks) == 1 or 4608 * sum(rows for _, rows in group.chunks) <= 1 << 30
        assert len(group.chunks) <= 64


def engine_of(name):
    if name == "processes":
        return Processes(2)
    pytest.importorskip("ray", reason="ray is not installed")
    return RayEngine(actors=2)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:lance is not fork-safe")  # Ray starts programs, which are no forks that go on
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["processes", "ray"])
def test_workers_that_are_killed_lose_and_double_nothing(labeled, tmp_path, small, name):
    """One in each step, when its files are written and nobody knows it: encoding, committing, sorting."""
    engine, url = EndingEngine(engine_of(name), tmp_path / "marks"), str(tmp_path / "table")
    parts = {"chunk_files": 3, "threads": 1, "bucket_bytes": 4 * 1024}
    report = TableBuild(DatasetSpec(str(labeled.root)), url, labeled.config, engine, **parts).run()
    assert len(list((tmp_path / "marks").iterdir())) == 3
    assert build(labeled, tmp_path / "expected", InProcess()).total == report.total
    assert rows_of_table(url) == rows_of_table(tmp_path / "expected")
    folder = ChunkFolder(url)
    assert rows_at(url) == sum(len(folder.listing(name).files) for name in folder.stored())
    assert LanceRowStore.open(url).statistics.counts.tolist() == LanceRowStore.open(url).counts.tolist()


_KILLED = """
import os, signal, sys
from lmm_classifier.distributed import committing
from lmm_classifier.distributed.chunk_folder import ChunkFolder
from lmm_classifier.distributed.engines.local import InProcess
from lmm_classifier.index.backends.lance_table.arrivals import Arrivals
from lmm_classifier.index.backends.lance_table.table import LanceTable

committing._GROUP_CHUNKS, committing._COMMITTED = 2, 4
url, step = sys.argv[1:]
stems = {chunk.stem: len(ChunkFolder(url).listing(name).files) for name, chunk in ChunkFolder(url).stored().items()}
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
committing.commit_chunks(LanceTable.open(url), stems, 100, InProcess())
"""


@pytest.mark.long
@pytest.mark.parametrize("step", ["commit_written", "_note"])
def test_a_driver_that_is_killed_between_writing_and_committing(chunked, step):
    """By SIGKILL: before the second version is noted, and after."""
    table, stems = chunked
    command = [sys.executable, "-c", _KILLED, table.url, step]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    again = LanceTable.open(table.url)
    assert len(again.committed_chunks()) == 4
    commit_chunks(again, stems, 100, InProcess())
    check_all(again, stems)
