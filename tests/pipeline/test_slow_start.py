"""A start that takes long without a calibration says so once, with what to do."""

import pytest

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import Cancelled
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.opening import open_index
from lmm_classifier.pipeline import slow_start
from lmm_classifier.pipeline.calibrator import CalibrationRequest, calibrate_index
from lmm_classifier.pipeline.flow import Flow
from lmm_classifier.pipeline.slow_start import watched_start
from tests.helpers.datasets import draw_dataset, offline_config


@pytest.fixture
def opened(tmp_path, caplog):
    """Opens an index, and returns its flow and what was said meanwhile."""
    draw_dataset(tmp_path / "dataset", ("stripes", "checkerboard", "gingham"), count=6, size=32)
    path = tmp_path / "index.npz"
    build_index_from_directory(tmp_path / "dataset", path, config=PipelineConfig.offline())

    def open_flow(labels=None, former=None):
        caplog.clear()
        config = offline_config(path)
        config.labels = labels
        flow = Flow.open(config, [DescriptorEncoder()], open_index(config.retrieval, [["descriptor"]]), former)
        return flow, [record.getMessage() for record in caplog.records if record.name == slow_start.__name__]

    return open_flow, path


def test_a_slow_start_is_explained_once(opened, monkeypatch):
    """It names the seconds and the advice; a change of the index says nothing more."""
    open_flow, _ = opened
    monkeypatch.setattr(slow_start, "SECONDS", 0.0)
    flow, (said,) = open_flow()
    assert said.startswith(
        "The index has no calibration that fits, so the rule is fitted to the examples at each start"
    )
    assert said.endswith("Calibrate the index once to avoid that: `lmm-classifier calibrate`.")
    assert open_flow(former=flow)[1] == []


def test_a_choice_of_labels_is_the_cause_that_no_calibration_changes(opened, monkeypatch):
    """The advice to calibrate would be wrong."""
    open_flow, _ = opened
    monkeypatch.setattr(slow_start, "SECONDS", 0.0)
    (said,) = open_flow(labels=["stripes", "gingham"])[1]
    assert said.startswith("The setting labels chooses some labels, so the rule is fitted to the examples at each")
    assert "Calibrate" not in said


def test_a_fast_start_and_a_calibrated_one_say_nothing(opened, monkeypatch):
    """However short the limit is."""
    open_flow, path = opened
    monkeypatch.setattr(slow_start, "SECONDS", 3600.0)
    assert open_flow()[1] == []
    calibrate_index(path, PipelineConfig.offline(), CalibrationRequest(keep_known=0.95))
    monkeypatch.setattr(slow_start, "SECONDS", 0.0)
    assert open_flow()[1] == []


def test_whoever_watches_a_start_is_told_and_can_stop_it(opened):
    """Each stage reports; outside of the block nobody is told."""
    open_flow, _ = opened
    seen = []
    with watched_start(seen.append):
        open_flow()
    assert all(0 < progress.done <= progress.total for progress in seen)
    stages = {progress.stage for progress in seen}
    assert stages == {"choosing a metric", "searching neighbors", "scoring held-out examples"}
    for stage in stages:

        def cancel(progress, stage=stage):
            if progress.stage == stage:
                raise Cancelled(stage)

        with watched_start(cancel), pytest.raises(Cancelled, match=stage):
            open_flow()
    told = len(seen)
    open_flow()
    assert len(seen) == told
