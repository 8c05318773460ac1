"""A start that takes long without a calibration says so once, with what to do."""

import pytest

from lmm_classifier.config import PipelineConfig
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.pipeline import slow_start
from lmm_classifier.pipeline.calibrator import CalibrationRequest, calibrate_index
from lmm_classifier.pipeline.retriever import Retriever
from tests.helpers.vector_indexes import write_clusters


@pytest.fixture
def opened(tmp_path, caplog):
    """Opens an index, and returns its retriever and what was said meanwhile."""
    path = write_clusters(tmp_path / "index.npz")

    def open_index(labels=None, former=None):
        caplog.clear()
        retriever = Retriever.open(RetrievalConfig(index_path=path), ExactIndex.open(path), labels, former)
        return retriever, [record.getMessage() for record in caplog.records if record.name == slow_start.__name__]

    return open_index, path


def test_a_slow_start_is_explained_once(opened, monkeypatch):
    """It names the number of examples, the seconds and the advice; a change of the index says nothing more."""
    open_index, _ = opened
    monkeypatch.setattr(slow_start, "SECONDS", 0.0)
    retriever, (said,) = open_index()
    assert said.startswith("The index has no calibration that fits, so the rule is fitted to its 150 examples at each")
    assert said.endswith("Calibrate the index once to avoid that: `lmm-classifier calibrate`.")
    assert open_index(former=retriever)[1] == []


def test_a_choice_of_labels_is_the_cause_that_no_calibration_changes(opened, monkeypatch):
    """The advice to calibrate would be wrong."""
    open_index, _ = opened
    monkeypatch.setattr(slow_start, "SECONDS", 0.0)
    (said,) = open_index(labels=["a", "b"])[1]
    assert said.startswith("The setting labels chooses some labels, so the rule is fitted to its 110 examples")
    assert "Calibrate" not in said


def test_a_fast_start_and_a_calibrated_one_say_nothing(opened, monkeypatch):
    """However short the limit is."""
    open_index, path = opened
    monkeypatch.setattr(slow_start, "SECONDS", 3600.0)
    assert open_index()[1] == []
    calibrate_index(path, PipelineConfig(), CalibrationRequest(keep_known=0.95))
    monkeypatch.setattr(slow_start, "SECONDS", 0.0)
    assert open_index()[1] == []
