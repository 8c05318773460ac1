"""What is damaged among the runs is found; a repair removes it and what depends on it, and nothing else."""

import os
import shutil
import sqlite3

import pytest
from filelock import FileLock

from lmm_classifier.core.errors import ReviewError
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.review.checks import check_runs
from lmm_classifier.review.decisions import LOCK
from lmm_classifier.review.reviewer import Reviewer
from lmm_classifier.review.storage.database import FILE
from lmm_classifier.review.storage.tables import TABLES
from tests.helpers.datasets import offline_config


@pytest.fixture(scope="module")
def answered(built, classified):
    """The folder of an index with a run in which each table has rows; tests copy it."""
    folder = shutil.copytree(classified, built / "answered")
    config = offline_config(folder, rerank__enabled="false")
    with HybridClassifier(config) as classifier, Reviewer(classifier) as reviewer:
        (run,) = reviewer.runs.runs()
        first, second, *_ = (item.id for item in reviewer.runs.after(run.id))
        reviewer.page(run.id)
        reviewer.teach([first], "taught")
        reviewer.decide([second], "skip")
    return folder


@pytest.fixture
def folder(answered, tmp_path):
    return shutil.copytree(answered, tmp_path / "index")


def execute(folder, *statements):
    connection = sqlite3.connect(folder / FILE)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_sound_runs(folder, tmp_path):
    """Sound runs have no findings; neither has an index without runs."""
    assert check_runs(folder) == check_runs(folder, repair=True) == check_runs(tmp_path / "no index") == []


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_damaged_row_of_each_table(folder, table):
    """A repair leaves what can be read, and a resumed run classifies what is missing."""
    column = list(table.columns)[-1]
    damaged = f"UPDATE {table.name} SET {column} = X'00' WHERE rowid = (SELECT max(rowid) FROM {table.name})"
    if table.key:
        key = table.key.split(", ")[0]
        damaged = f"UPDATE {table.name} SET {column} = X'00' WHERE {key} = (SELECT max({key}) FROM {table.name})"
    execute(folder, damaged)
    (finding,) = check_runs(folder)
    assert (finding.severity, finding.repaired) == ("damage", False)
    assert table.name in finding.what
    assert all(finding.repaired for finding in check_runs(folder, repair=True))
    assert check_runs(folder) == []
    config = offline_config(folder, rerank__enabled="false")
    with HybridClassifier(config) as classifier, Reviewer(classifier) as reviewer:
        for run in reviewer.runs.runs():
            assert reviewer.resume(run.id).items == 18


def test_rows_without_their_owner(folder):
    """Rows of an item or a run that is gone are removed."""
    execute(folder, "DELETE FROM runs")
    assert {finding.what.split(" of runs")[0].split(" rows of ")[1] for finding in check_runs(folder)} == {"items"}
    check_runs(folder, repair=True)
    assert check_runs(folder) == []


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + bytes(4096)])
def test_another_file(folder, content):
    """A file that is no database of runs is renamed, never deleted; an empty one is a new database."""
    for ending in ("-wal", "-shm"):
        (folder / f"{FILE}{ending}").unlink(missing_ok=True)
    (folder / FILE).write_bytes(content)
    findings = check_runs(folder, repair=True)
    assert [finding.repaired for finding in findings] == [True] * bool(content)
    if content:
        assert (folder / f"{FILE}.damaged").read_bytes() == content
    assert check_runs(folder) == []


def test_another_format_is_left_alone(folder):
    """A newer program may have written it."""
    execute(folder, "PRAGMA user_version = 99")
    for repair in (False, True):
        (finding,) = check_runs(folder, repair)
        assert "format 99" in finding.what
        assert not finding.repaired
    assert (folder / FILE).is_file()


def test_a_folder_that_is_gone(built, folder):
    """The open images of a run need its folder."""
    new = built / "new"
    new.rename(new.with_name("moved"))
    try:
        (finding,) = check_runs(folder)
    finally:
        new.with_name("moved").rename(new)
    assert finding.severity == "note"
    assert str(new) in finding.what


def test_uploads_of_no_run(folder):
    """A file that came in the last hour may belong to an upload under way."""
    (folder / "uploads").mkdir()
    for name, age in (("old", 7200), ("new", 0)):
        (folder / "uploads" / name).write_bytes(b"image")
        stat = (folder / "uploads" / name).stat()
        os.utime(folder / "uploads" / name, (stat.st_atime, stat.st_mtime - age))
    (finding,) = check_runs(folder)
    assert finding.what == "1 files in uploads belong to no run: old"
    check_runs(folder, repair=True)
    assert [file.name for file in (folder / "uploads").iterdir()] == ["new"]


def test_no_repair_during_an_answer(folder):
    """Another program may be between two commits."""
    with FileLock(folder / LOCK), pytest.raises(ReviewError, match="answer is being edited"):
        check_runs(folder, repair=True)
