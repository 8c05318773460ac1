"""Groups that a dataset names, for the calibration."""

import pytest

from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.formats import read_index
from lmm_classifier.index.named_groups import named_groups
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
    groups = named_groups(read_index(tmp_path / "index").manifest, "column", ImagesConfig())
    assert groups == {path: str(number // 2) for number, path in enumerate(paths)}
    report = calibrate_index(tmp_path / "index", config, CalibrationRequest(group_by="column"))
    assert "of 6 groups" in report.method

    build_index_from_directory(root, tmp_path / "plain", config=config)
    manifest = read_index(tmp_path / "plain").manifest
    assert named_groups(manifest, "folder", ImagesConfig()) is None
    with pytest.raises(CalibrationError, match="names no groups"):
        named_groups(manifest, "column", ImagesConfig())
    (tmp_path / "list.csv").unlink()
    with pytest.raises(CalibrationError, match="cannot be opened"):
        named_groups(read_index(tmp_path / "index").manifest, "column", ImagesConfig())
