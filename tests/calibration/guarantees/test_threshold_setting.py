"""Thresholds that are set without fitting again are those that `calibrate` stores, bit by bit."""

import shutil

import numpy as np
import pytest

from lmm_classifier.calibration.guarantees.outlook import Outlook
from lmm_classifier.calibration.guarantees.risk_control import NoGuarantee
from lmm_classifier.calibration.guarantees.threshold_setting import set_thresholds
from lmm_classifier.calibration.loading import usable_calibration
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.core.errors import CalibrationError, StaleCalibrationError
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.formats import read_index, write_calibration
from lmm_classifier.index_builder import build_index_from_directory
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.pipeline.calibrator import calibrate_index
from tests.helpers.datasets import offline_config
from tests.helpers.encoders import ColorEncoder, draw_sides

CONFIG = RetrievalConfig()


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A durable index that is calibrated by groups, with a guarantee."""
    root = tmp_path_factory.mktemp("thresholds")
    draw_sides(root / "dataset", count=30)
    build_index_from_directory(
        root / "dataset", root / "index", config=offline_config(root / "index"), encoder=ColorEncoder()
    )
    calibrate_index(root / "index", offline_config(root / "index"), CalibrationRequest(0.8, group_by="(.*)"))
    return root


@pytest.fixture
def index(calibrated, tmp_path):
    shutil.copytree(calibrated / "index", tmp_path / "index", ignore=shutil.ignore_patterns("*.lock"))
    return tmp_path / "index"


TARGETS = [
    (precision, level, keep) for precision in (0.7, 0.9, 0.95, 0.99) for level, keep in ((0.9, 0.95), (0.6, 0.8))
]


@pytest.mark.parametrize(("precision", "level", "keep"), TARGETS)
def test_they_are_those_of_calibrate(calibrated, index, tmp_path, precision, level, keep):
    """All arrays are the same, or the same refusal comes, and nothing is stored; the outlook said so before."""
    other = tmp_path / "other"
    shutil.copytree(index, other)
    asked = CalibrationRequest(precision, level, keep)
    fitted = CalibrationRequest(precision, level, keep, group_by="(.*)")  # what holds examples out is fitted again
    outlook = Outlook.of(usable_calibration(read_index(index)), asked)
    before = read_index(index).calibration
    if isinstance(outlook.guarantee, NoGuarantee):
        for path, store, request in ((index, set_thresholds, asked), (other, calibrate_index, fitted)):
            config = CONFIG if store is set_thresholds else offline_config(path)
            with pytest.raises(
                CalibrationError, match=f"It takes {outlook.guarantee.needed} examples without"
            ) as error:
                store(path, config, request)
            assert str(error.value).endswith("No calibration was stored.")
        assert read_index(index).calibration.keys() == before.keys()
        return
    stored = set_thresholds(index, CONFIG, asked)
    calibrate_index(other, offline_config(other), fitted)
    found, expected = read_index(index).calibration, read_index(other).calibration
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert stored.confidence_threshold == outlook.guarantee.threshold
    assert stored.familiarity_threshold(keep) == outlook.familiarity_threshold
    assert stored.request.group_by == "(.*)"


def test_an_index_that_changed_must_be_calibrated_first(index):
    """Its held-out results are of other examples. So it is where none are stored."""
    editor = IndexEditor(index, offline_config(index), ColorEncoder())
    example = read_index(index).paths[0]
    editor.relabel([example], read_index(index).labels[-1])
    with pytest.raises(StaleCalibrationError, match="must be calibrated first"):
        set_thresholds(index, CONFIG, CalibrationRequest(0.8))


def test_a_calibration_made_meanwhile_stays(index, monkeypatch):
    """The thresholds were set on results that another program replaced."""
    from lmm_classifier.calibration.guarantees import threshold_setting

    def write_after_another(path, contents, arrays, former):
        write_calibration(path, contents, {**former, "date": np.array(["2026-01-01"])})
        return write_calibration(path, contents, arrays, former)

    monkeypatch.setattr(threshold_setting, "write_calibration", write_after_another)
    with pytest.raises(StaleCalibrationError, match="calibrated again meanwhile"):
        set_thresholds(index, CONFIG, CalibrationRequest(0.8, keep_known=0.5))
    assert list(read_index(index).calibration["date"]) == ["2026-01-01"]


def test_an_impossible_number_is_refused(index):
    """As `calibrate` does."""
    with pytest.raises(CalibrationError, match="keep_known: expected a number between 0 and 1"):
        set_thresholds(index, CONFIG, CalibrationRequest(keep_known=95))
