"""The identity of an index: it stays over edits, and differs for other examples and encoders."""

import shutil

from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.formats import read_index
from lmm_classifier.pipeline.calibrator import calibrate_index
from tests.helpers.datasets import draw_dataset, offline_config


def test_the_identity_is_that_of_the_index_and_its_encoders(tmp_path):
    """Edited, calibrated, copied or built further it is the same; deleted and built it is another one."""
    dataset = draw_dataset(tmp_path / "dataset", count=3, size=24)
    config = offline_config(tmp_path / "index", rerank__enabled=False)

    def identity(index="index"):
        return read_index(tmp_path / index).identity

    build_index_from_directory(dataset, tmp_path / "index", config=config)
    first = identity()
    assert len(first) == 16
    IndexEditor(tmp_path / "index", config).remove(["stripes/00.png"])
    calibrate_index(tmp_path / "index", config)
    shutil.copytree(tmp_path / "index", tmp_path / "copy", ignore=shutil.ignore_patterns("*.lock"))
    assert (identity(), identity("copy")) == (first, first)
    shutil.rmtree(tmp_path / "index")
    build_index_from_directory(dataset, tmp_path / "index", config=config)
    assert identity() != first


def test_the_identity_of_a_file_is_that_of_its_examples(tmp_path):
    """A calibration, which is stored in it, changes nothing."""
    config = offline_config(tmp_path / "a.npz", rerank__enabled=False)
    dataset = draw_dataset(tmp_path / "dataset", count=3, size=24)
    build_index_from_directory(dataset, tmp_path / "a.npz", config=config)
    first = read_index(tmp_path / "a.npz").identity
    calibrate_index(tmp_path / "a.npz", config)
    assert read_index(tmp_path / "a.npz").identity == first
    shutil.rmtree(dataset / "stripes")
    build_index_from_directory(dataset, tmp_path / "b.npz", config=config)
    assert read_index(tmp_path / "b.npz").identity != first
