"""The identity of a run changes with what changes its answers, and with nothing else."""

import pytest

from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.run_identity import run_identity, same_settings
from tests.helpers.datasets import draw_dataset, offline_config


@pytest.fixture
def path(tmp_path):
    draw_dataset(tmp_path / "dataset", count=3, size=32)
    build_index_from_directory(tmp_path / "dataset", tmp_path / "index", config=offline_config(tmp_path / "index"))
    return tmp_path / "index"


def identity(path, leave_out=False, **settings):
    return run_identity(HybridClassifier(offline_config(path, **settings)), leave_out)


@pytest.mark.long
def test_settings_that_change_answers(path):
    """Each of them gives another identity; number of threads, batch size and place do not."""
    plain = identity(path)
    moved = path.rename(path.with_name("moved"))
    same = {"images__threads": 1, "encoder__batch_size": 3, "logging__level": "ERROR"}
    assert identity(moved, **same) == plain
    others = [
        {"retrieval__k": 3},
        {"unknown_label": "none"},
        {"allow_unknown": False},
        {"labels": "[stripes, gingham]"},
    ]
    changed = [identity(moved, **setting) for setting in others] + [identity(moved, True)]
    assert len({plain, *changed}) == 6
    assert not any(same_settings(plain, other) for other in changed)


def test_a_changed_index_is_told_apart(path):
    """By a calibration and by an edit; the settings are still the same."""
    plain = identity(path)
    calibrate_index(path, offline_config(path))
    calibrated = identity(path)
    classifier = HybridClassifier(offline_config(path))
    classifier.editor().remove(["stripes/00.png"])
    edited = run_identity(classifier)
    assert len({plain, calibrated, edited}) == 3
    assert same_settings(plain, calibrated)
    assert same_settings(plain, edited)
