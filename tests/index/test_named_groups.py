"""Groups that a dataset names, for the calibration."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.core.errors import CalibrationError, DatasetError, IndexFileError
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.doctor import check_index
from lmm_classifier.index.formats import read_index, write_index
from lmm_classifier.index.named_groups import named_groups
from lmm_classifier.index.storage.database import FILE
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.calibrator import calibrate_index
from tests.helpers.datasets import draw_dataset, offline_config


def test_groups_come_from_the_dataset(tmp_path):
    """They are held out together; an index of a dataset without groups says how to name them."""
    root = draw_dataset(tmp_path / "images", ("stripes", "gingham"), 6, size=48)
    paths = sorted(path.relative_to(tmp_path).as_posix() for path in root.rglob("*.png"))
    rows = "".join(f"{path},{path.split('/')[1]},{number // 2}\n" for number, path in enumerate(paths))
    (tmp_path / "list.csv").write_text(f"path,label,object\n{rows}")
    config = offline_config(tmp_path / "index")
    spec = DatasetSpec(str(tmp_path / "list.csv"), group_from="object")
    build_index_from_directory(spec, tmp_path / "index", config=config)
    groups = named_groups(read_index(tmp_path / "index"), "column", ImagesConfig())
    assert groups == {path: str(number // 2) for number, path in enumerate(paths)}
    report = calibrate_index(tmp_path / "index", config, CalibrationRequest(group_by="column"))
    assert "of 6 groups" in report.method

    build_index_from_directory(root, tmp_path / "plain", config=config)
    contents = read_index(tmp_path / "plain")
    assert named_groups(contents, "folder", ImagesConfig()) is None
    with pytest.raises(CalibrationError, match="names no groups"):
        named_groups(contents, "column", ImagesConfig())
    (tmp_path / "list.csv").unlink()
    with pytest.raises(CalibrationError, match="cannot be opened"):
        named_groups(read_index(tmp_path / "index"), "column", ImagesConfig())


@pytest.mark.parametrize("name", ["index", "index.npz"])
def test_groups_of_vectors_are_stored_with_them(tmp_path, name):
    """Both formats and copies keep them, by the id of an example; vectors without a group are alone."""
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(40, 8)) + np.repeat(np.eye(2, 8) * 4, 20, axis=0), ["a"] * 20 + ["b"] * 20
    groups = [f"object {row // 2}" if row else "" for row in range(40)]
    Index.from_vectors(vectors, labels, groups=groups).save(tmp_path / name)
    other = tmp_path / ("copy.npz" if name == "index" else "copy")
    write_index(other, read_index(tmp_path / name))
    for path in (tmp_path / name, other):
        found = named_groups(read_index(path), "column", ImagesConfig())
        assert found == {f"{row:02}": group for row, group in enumerate(groups) if group}
        report = calibrate_index(path, request=CalibrationRequest(group_by="column"))
        assert "of 21 groups" in report.method
    folder = other if name == "index.npz" else tmp_path / name
    editor = IndexEditor(folder)
    editor.remove(["05"])
    editor.relabel(["07"], "b")
    editor.undo()
    assert named_groups(read_index(folder), "column", ImagesConfig())["05"] == "object 2"


def test_vectors_without_groups_say_so(tmp_path):
    """The message says how to name them; groups that are none are refused."""
    index = Index.from_vectors(np.eye(4), list("aabb"))
    with pytest.raises(CalibrationError, match="made of vectors without groups"):
        named_groups(index.contents, "column", ImagesConfig())
    for groups in (["x"] * 3, [1, 2, 3, 4], "abcd"):
        with pytest.raises(DatasetError):
            Index.from_vectors(np.eye(4), list("aabb"), groups=groups)


def test_damaged_groups_are_found_and_dropped(tmp_path):
    """A reader refuses them, and a repair leaves an index without groups."""
    Index.from_vectors(np.eye(4), list("aabb"), groups=list("wxyz")).save(tmp_path / "index")
    with closing(sqlite3.connect(tmp_path / "index" / FILE)) as connection, connection:
        connection.execute("DELETE FROM meta WHERE name = 'groups.by_id'")
    with pytest.raises(IndexFileError, match="the groups is incomplete"):
        read_index(tmp_path / "index")
    assert any("groups" in finding.what for finding in check_index(tmp_path / "index", repair=True))
    assert read_index(tmp_path / "index").groups == {}
