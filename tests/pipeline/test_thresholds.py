"""Thresholds come from the configuration, then from the stored calibration, then from the defaults."""

import json

import numpy as np
import pytest

from lmm_classifier.calibration.conformal import conformal_threshold
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.retrieval.retriever import Retriever
from lmm_classifier.pipeline.thresholds import DEFAULT_KEEP_KNOWN, Threshold, Thresholds
from tests.helpers.vector_indexes import write_clusters


@pytest.fixture
def path(tmp_path):
    return write_clusters(tmp_path / "index.npz")


def resolve(path, **settings):
    config = RetrievalConfig(index_path=path, **settings)
    retriever = Retriever.open(config, [Index.open(path)])
    return Thresholds.resolve(config, retriever.calibration, retriever.stored)


def test_without_a_calibration_the_defaults_hold(path):
    """The familiarity threshold is fitted when the index is opened, to accept 95% of known images."""
    thresholds = resolve(path)
    assert thresholds.confidence == Threshold(0.7, "default")
    assert thresholds.keep_known == Threshold(DEFAULT_KEEP_KNOWN, "default")
    assert thresholds.statistic == "familiarity"
    assert thresholds.novelty.source == "fitted when the index was opened"
    assert thresholds.prediction_set is None
    assert thresholds.familiarity_threshold == thresholds.novelty.value
    assert resolve(path, open_set_threshold=0.5).familiarity_threshold is None
    assert resolve(path, familiarity_threshold=-2.0).familiarity_threshold == -2.0


def test_a_stored_calibration_comes_before_the_defaults(path):
    """Each threshold names the day of the calibration."""
    report = calibrate_index(path, request=CalibrationRequest(0.9, keep_known=0.8))
    thresholds = resolve(path)
    source = f"calibration of {report.calibration.date}"
    assert thresholds.confidence == Threshold(report.guarantee.threshold, source)
    assert thresholds.keep_known == Threshold(0.8, source)
    assert thresholds.novelty == Threshold(report.calibration.familiarity_threshold(0.8), source)


def test_the_configuration_comes_first(path):
    """A threshold by hand replaces the stored one; `keep_known` chooses another fitted one."""
    report = calibrate_index(path, request=CalibrationRequest(0.9, keep_known=0.8))
    assert resolve(path, confidence_threshold=0.25).confidence == Threshold(0.25, "configuration")
    fitted = resolve(path, keep_known=0.9)
    assert fitted.keep_known == Threshold(0.9, "configuration")
    assert fitted.novelty.value == report.calibration.familiarity_threshold(0.9)
    by_cosine = resolve(path, open_set_threshold=-0.5)
    assert (by_cosine.statistic, by_cosine.novelty) == ("similarity", Threshold(-0.5, "configuration"))
    by_familiarity = resolve(path, familiarity_threshold=-2.5)
    assert (by_familiarity.statistic, by_familiarity.novelty) == ("familiarity", Threshold(-2.5, "configuration"))
    assert by_cosine.keep_known is by_familiarity.keep_known is None


def test_the_threshold_of_prediction_sets_is_the_conformal_one(path):
    """It follows from the conformity scores of the calibration in use."""
    calibration = Retriever.open(RetrievalConfig(), [Index.open(path)]).calibration
    thresholds = resolve(path, prediction_set_alpha=0.1)
    assert thresholds.prediction_set.value == conformal_threshold(calibration.conformity_scores, 0.1)


def test_both_novelty_thresholds_at_once_are_refused():
    """They are in different units, so only one of them can be meant."""
    with pytest.raises(ConfigError, match="familiarity_threshold.*or open_set_threshold.*not both"):
        PipelineConfig(retrieval={"familiarity_threshold": -1.0, "open_set_threshold": 0.5})
    config = PipelineConfig()
    config.set("retrieval.familiarity_threshold=-1.5")
    with pytest.raises(ConfigError, match="not both"):
        config.set("retrieval.open_set_threshold=0.5")
    assert config.retrieval.open_set_threshold is None


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, {"confidence_threshold", "familiarity_threshold", "keep_known"}),
        ({"familiarity_threshold": -1.0}, {"confidence_threshold", "familiarity_threshold"}),
        ({"open_set_threshold": 0.5}, {"confidence_threshold", "open_set_threshold"}),
        (
            {"prediction_set_alpha": 0.1},
            {"confidence_threshold", "familiarity_threshold", "keep_known", "prediction_set_threshold"},
        ),
    ],
)
def test_each_threshold_is_named_as_its_key(path, settings, names):
    """A value that is shown can be pasted under its name into the configuration."""
    values = json.loads(json.dumps(resolve(path, **settings).to_dict()))
    assert set(values) == names
    assert all(set(value) == {"value", "source"} and np.isfinite(value["value"]) for value in values.values())
