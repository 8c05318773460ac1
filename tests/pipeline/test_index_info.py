"""An index is described without its vectors: encoder, labels, calibration, and each threshold with its source."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.index.formats import read_index, write_index
from lmm_classifier.index.manifest import EncoderEntry
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.index_info import describe_index
from lmm_classifier.testing import random_embeddings
from tests.helpers.vector_indexes import write_clusters, write_encoders


@pytest.fixture
def path(tmp_path):
    return write_clusters(tmp_path / "index.npz")


def config(**settings):
    return PipelineConfig(retrieval=settings)


def test_an_index_without_a_calibration(path):
    """The confidence threshold is the default; nothing is fitted, so there is no familiarity threshold yet."""
    described = describe_index(path)
    (encoder,) = described["encoders"]
    assert (described["images"], described["labels"], encoder["dim"]) == (150, {"a": 60, "b": 50, "c": 40}, 12)
    assert described["calibration"] == {"state": "missing"}
    assert described["thresholds"] == {
        "confidence_threshold": {"value": 0.7, "source": "default"},
        "familiarity_threshold": {"value": None, "source": "fitted when the index is opened"},
        "keep_known": {"value": 0.95, "source": "default"},
    }
    json.dumps(described, allow_nan=False)


def test_settings_are_thresholds_too(path):
    """Those of the configuration replace the default."""
    thresholds = describe_index(path, config(confidence_threshold=0.4, familiarity_threshold=-1.5))["thresholds"]
    assert thresholds == {
        "confidence_threshold": {"value": 0.4, "source": "configuration"},
        "familiarity_threshold": {"value": -1.5, "source": "configuration"},
    }


def test_a_calibrated_index(path):
    """The thresholds are those of a classifier, each with the day of the calibration."""
    report = calibrate_index(path, request=CalibrationRequest(0.9, keep_known=0.8))
    described = describe_index(path)
    calibration, thresholds = described["calibration"], described["thresholds"]
    assert calibration["state"] == "loaded"
    assert calibration["note"] == ""
    assert calibration["date"] == report.calibration.date
    assert calibration["rule"].startswith("auto")
    assert calibration["reranking"] is None
    source = f"calibration of {report.calibration.date}"
    assert thresholds["familiarity_threshold"] == {
        "value": report.calibration.familiarity_threshold(0.8), "source": source,
    }  # fmt: skip
    assert thresholds["keep_known"] == {"value": 0.8, "source": source}
    assert thresholds["confidence_threshold"] == {"value": report.guarantee.threshold, "source": source}
    json.dumps(described, allow_nan=False)


def test_a_stale_calibration_says_why(path, tmp_path):
    """More than a quarter of the examples changed: the thresholds are those of an index without one."""
    calibrate_index(path, request=CalibrationRequest(0.9, keep_known=0.8))
    contents = read_index(path)
    write_index(tmp_path / "changed.npz", replace(contents, labels=["b"] * 40 + list(contents.labels[40:])))
    described = describe_index(tmp_path / "changed.npz")
    assert described["calibration"]["state"] == "stale"
    assert "40 of 150 examples" in described["calibration"]["reason"]
    assert described["thresholds"]["confidence_threshold"] == {"value": 0.7, "source": "default"}
    assert described["stale"]
    assert described["calibration"]["date"]
    assert described["calibration"]["request"]["target_precision"] == 0.9
    asked = {"value": 0.8, "source": "asked for by a former calibration"}
    assert described["thresholds"]["keep_known"] == asked


def test_a_calibration_of_another_rule_gives_no_threshold(path):
    """What is shown is what a classifier with these settings uses."""
    calibrate_index(path, request=CalibrationRequest(0.9))
    described = describe_index(path, config(rule="knn"))
    assert described["calibration"]["state"] == "stale"
    assert "'knn k=20" in described["calibration"]["reason"]
    assert described["thresholds"]["confidence_threshold"] == {"value": 0.7, "source": "default"}


def test_a_choice_of_labels_has_the_familiarity_fitted_again(path):
    """The stored threshold is of all labels; the precision was asked for and stays."""
    report = calibrate_index(path, request=CalibrationRequest(0.9))
    thresholds = describe_index(path, PipelineConfig(labels=["a", "b"]))["thresholds"]
    assert thresholds["familiarity_threshold"] == {"value": None, "source": "fitted when the index is opened"}
    assert thresholds["confidence_threshold"]["value"] == report.guarantee.threshold


def test_a_threshold_set_by_hand_leaves_no_keep_known(path):
    """`keep_known` has no effect then."""
    thresholds = describe_index(path, config(open_set_threshold=0.4, prediction_set_alpha=0.1))["thresholds"]
    assert thresholds == {
        "confidence_threshold": {"value": 0.7, "source": "default"},
        "open_set_threshold": {"value": 0.4, "source": "configuration"},
        "prediction_set_threshold": {"value": None, "source": "fitted when the index is opened"},
    }


def test_a_calibration_that_the_configured_encoders_do_not_use_is_not_shown_as_used(tmp_path):
    """It is of all encoders in their order. So `info` says of each configuration what `classify` does with it."""
    rows = random_embeddings(np.random.default_rng(0), 40, 12)
    contents = read_index(write_encoders(tmp_path / "given", "ab" * 20, [rows, rows[::-1]]))
    whole, center = Fingerprint("descriptor", "", "1", "RGB", 12, "float32"), "center 0.5"
    entries = (EncoderEntry(whole, "identity"), EncoderEntry(replace(whole, view=center), "identity"))
    path = tmp_path / "index"
    write_index(path, replace(contents, manifest=replace(contents.manifest, encoders=entries)))
    first, second = {"backend": "descriptor"}, {"backend": "descriptor", "view": center}
    calibrate_index(path)
    assert describe_index(path)["calibration"]["state"] == "loaded"
    for encoders, reason, remedy in (
        ([first, second], None, None),
        ([second], "but configured are", "then `lmm-classifier calibrate`"),
        ([second, first], "but configured are", "then `lmm-classifier calibrate`"),
        ([{"backend": "lite"}], "names an encoder of which this index has no vectors", "Use the configuration that"),
    ):
        described = describe_index(path, PipelineConfig(encoder=encoders))
        calibration, threshold = described["calibration"], described["thresholds"]["familiarity_threshold"]
        assert calibration["state"] == ("stale" if reason else "loaded")
        assert (reason or "") in calibration.get("reason", "")
        assert (remedy or "") in calibration.get("remedy", "")
        assert threshold["source"].startswith("fitted when" if reason else "calibration of")
