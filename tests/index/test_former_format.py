"""An index of a former format gives one error, wherever it is opened."""

import json
import sqlite3
import zipfile
from contextlib import closing

import numpy as np
import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor, sync_index
from lmm_classifier.index.doctor import check_index
from lmm_classifier.index.formats import read_index, write_calibration, write_index
from lmm_classifier.index.opening import open_index
from lmm_classifier.index.storage.database import FILE
from lmm_classifier.index.storage.store import Store
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.testing import random_embeddings
from tests.contracts.test_index import write
from tests.helpers.datasets import draw_dataset, offline_config

VECTORS = random_embeddings(np.random.default_rng(0), 5, 4)


def run(index, *statements):
    with closing(sqlite3.connect(index / FILE)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def former_folder(path, own_tables):
    """Make a durable index of format 2; `own_tables` renames columns, as that format had other names."""
    write(path, VECTORS)
    run(path, "PRAGMA user_version=2")
    if own_tables:
        run(path, "ALTER TABLE examples RENAME COLUMN provenance TO how")
        run(path, "ALTER TABLE files RENAME COLUMN decided_by TO judge")
    return path


def former_file(path):
    """Make an `.npz` index of format 1, whose manifest and arrays say `space` instead of `transform`."""
    write(path, VECTORS)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members["manifest.json"])
    manifest["format_version"] = 1
    manifest["space"], manifest["fingerprint"] = "identity", manifest.pop("encoders")[0]["fingerprint"]
    members["manifest.json"] = json.dumps(manifest).encode()
    members["space.mean.npy"] = members["vectors.npy"] = members.pop("vectors.0.npy")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.fixture(params=["folder", "folder with the tables of today", "npz"])
def former(request, tmp_path):
    """An index of the former format, and the error message that it gives."""
    if request.param == "npz":
        path, formats, output = former_file(tmp_path / "old.npz"), (1, 3), ""
    else:
        path, formats = former_folder(tmp_path / "old", own_tables=request.param == "folder"), (2, 6)
        output = " into another folder"
    message = (
        f"{path} has index format {formats[0]}, but this program reads format {formats[1]}. "
        f"Build it again with `lmm-classifier build`{output}."
    )
    return path, message


@pytest.mark.parametrize(
    "open_it",
    [
        read_index,
        Index.open,
        lambda path: open_index(RetrievalConfig(index_path=path), [["descriptor"]]),
    ],
)
def test_opening_it_gives_one_message(former, open_it):
    """With both format numbers and what to do."""
    path, message = former
    with pytest.raises(IndexFileError) as caught:
        open_it(path)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "change",
    [
        lambda path, dataset, config: Store(path, create=True),
        lambda path, dataset, config: build_index_from_directory(dataset, path, config=config),
        sync_index,
        lambda path, dataset, config: IndexEditor(path, config).remove(["p/000.jpg"]),
        lambda path, dataset, config: write_index(path, read_index(write(path.with_name("new"), VECTORS))),
        lambda path, dataset, config: write_calibration(path, None, {}),
    ],
)
@pytest.mark.parametrize("own_tables", [True, False])
def test_changing_it_gives_the_same_message_and_changes_nothing(tmp_path, change, own_tables):
    """It is never overwritten, because it may hold labels that were given by hand."""
    path = former_folder(tmp_path / "old", own_tables)
    before = (path / FILE).read_bytes()
    with pytest.raises(IndexFileError, match="has index format 2, but this program reads format 6. Build it again"):
        change(path, draw_dataset(tmp_path / "dataset", count=1, size=48), offline_config(path))
    assert (path / FILE).read_bytes() == before


@pytest.mark.parametrize("repair", [False, True])
def test_the_doctor_reports_it_and_repairs_nothing(tmp_path, repair):
    """A repair would copy no row of a table with other columns."""
    for path in (former_folder(tmp_path / "old", own_tables=True), former_file(tmp_path / "old.npz")):
        before = (path / FILE if path.is_dir() else path).read_bytes()
        (finding,) = check_index(path, repair)
        assert (finding.severity, finding.repaired) == ("damage", False)
        assert "but this program reads format" in finding.what
        assert "Build it again with `lmm-classifier build`" in finding.what
        assert (path / FILE if path.is_dir() else path).read_bytes() == before


def test_a_damaged_format_number_is_repaired(tmp_path):
    """With the tables of today, another format number is damage, and a repair loses no row."""
    path = former_folder(tmp_path / "old", own_tables=False)
    findings = check_index(path)
    assert "has index format 2, but this program reads format 6" in findings[0].what
    assert check_index(path, repair=True)[0].repaired
    np.testing.assert_array_equal(Index.open(path).vectors(), VECTORS)
