"""Chunks are checked, and what no run needs is deleted."""

import time

import pytest

from lmm_classifier.distributed.build import build_table
from lmm_classifier.distributed.chunk_folder import ChunkFolder
from lmm_classifier.distributed.engines.local import InProcess
from lmm_classifier.distributed.maintenance import DAY, ChunkProblem, delete_unneeded, verify_chunks
from tests.helpers.chunked_builds import rows_of_table
from tests.helpers.command_line import run

pytest.importorskip("lance", reason="lance is not installed")


@pytest.fixture
def table(labeled, tmp_path):
    """A table of several chunks."""
    build_table(labeled.root, str(tmp_path / "table"), labeled.config, InProcess(), chunk_files=8)
    return tmp_path / "table"


def files_of(table, kind="chunks"):
    return sorted((table / kind).rglob("*.parquet" if kind == "chunks" else "*"))


def test_damage_is_found(table):
    """A flipped bit, a missing row, and a file under another name; the others are good."""
    files = files_of(table)
    assert len(list(verify_chunks(str(table)))) == len(files) >= 4
    data = bytearray(files[0].read_bytes())
    data[200] ^= 1
    files[0].write_bytes(data)
    files[1].write_bytes(files[2].read_bytes())
    found = list(verify_chunks(str(table)))
    problems = {problem.stem: problem.reason for problem in found if isinstance(problem, ChunkProblem)}
    assert problems.keys() == {files[0].stem, files[1].stem}
    assert "damaged" in problems[files[0].stem]
    shown = run("chunks", "verify", table, code=3)
    assert f"{len(files) - 2} chunks are good, 2 damaged" in shown.stdout
    assert "run the build again" in shown.stderr


def test_a_deleted_chunk_is_made_again(table, labeled):
    """Only that one, and the table is the same."""
    rows = rows_of_table(table)
    path = files_of(table)[0]
    path.unlink()
    report = build_table(labeled.root, str(table), labeled.config, InProcess(), chunk_files=8)
    assert path.exists()
    assert 0 < report.changes.encoded <= 8
    assert rows_of_table(table) == rows


def test_only_what_no_run_needs_is_deleted(table, labeled):
    """And only when it is older than a day."""
    needed = files_of(table)
    build_table(labeled.root, str(table), labeled.config, InProcess(), chunk_files=5)
    latest = set(files_of(table)) - set(needed)
    assert latest
    assert delete_unneeded(str(table))["files"] == 0
    kept = {name.stem for name in latest_files(table)}
    deleted = delete_unneeded(str(table), now=lambda: time.time() + DAY + 60)
    assert deleted["files"] > 0
    assert deleted["bytes"] > 0
    assert {path.stem for path in files_of(table)} == kept
    assert rows_of_table(table)
    report = build_table(labeled.root, str(table), labeled.config, InProcess(), chunk_files=5)
    assert report.changes.encoded == 0
    assert "0 files deleted" in run("chunks", "gc", table).stdout


def latest_files(table):
    """Return the chunk files of the latest run."""
    from lmm_classifier.distributed.runs import read_run

    folder = ChunkFolder(str(table))
    name = max(entry.name for entry in folder.files.entries("runs"))
    names = {chunk.name for chunk in read_run(folder, name).chunks}
    return [path for path in files_of(table) if path.stem in names]


def test_an_empty_place_has_no_chunks(tmp_path):
    """Nothing is made there."""
    assert "0 chunks are good" in run("chunks", "verify", tmp_path / "nothing").stdout
    assert '"files": 0' in run("chunks", "gc", tmp_path / "nothing", "--json").stdout
    assert list(tmp_path.iterdir()) == []
