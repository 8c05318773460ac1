"""`calibrate` says how encoders are fused, which are not asked, and what other orders would give."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.fusion.cascade import Cascade, Stage
from lmm_classifier.calibration.fusion.encoder_fusion import EncoderFusion
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.config import PipelineConfig
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.fusion_report import compare_ladders, fused_tradeoff, fusion_notes, other_encoders
from tests.helpers.encoders import ColorEncoder, LayoutEncoder, NoiseEncoder, draw_sides
from tests.helpers.vector_indexes import write_clusters


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """A dataset and its index of three encoders, one of which gives noise."""
    root = tmp_path_factory.mktemp("sides")
    build_index(draw_sides(root / "dataset"), root / "index.npz")
    return root


def build_index(dataset, path):
    encoders = [ColorEncoder(), NoiseEncoder(), LayoutEncoder()]
    build_index_from_directory(dataset, path, config=PipelineConfig.offline(), encoder=encoders)
    return path


def add_views(dataset, count):
    """Add `count` images to each that differ from it by a little noise; return the dataset."""
    for number, file in enumerate(sorted(dataset.rglob("*.png"))):
        pixels = np.asarray(Image.open(file), np.int16)
        for view in range(count):
            noise = np.random.default_rng((number, view)).integers(-3, 4, pixels.shape)
            image = Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
            image.save(file.with_name(f"{file.stem}_{view}.png"))
    return dataset


def replaced(calibration, *stages):
    return replace(calibration, cascade=Cascade(stages))


def test_notes_name_the_encoders_of_each_stage(sides):
    """Their weights, where the next one is asked, and what to do with one that is never asked."""
    indexes = Index.open_each(sides / "index.npz")
    calibration, _ = fit_by_leave_one_out(PipelineConfig().retrieval, indexes)
    one, two = EncoderFusion(np.ones(1)), EncoderFusion(np.array([0.6, 0.25]))
    cascade = replaced(calibration, Stage((2,), one, 0.75), Stage((2, 0), two))
    assert list(fusion_notes(indexes[0], cascade, PipelineConfig())) == [
        "stage 1 of 2: thumbnail; the next one is asked at a confidence of at most 0.7500",
        "stage 2 of 2: weights thumbnail 0.60, boxes 0.25",
        "digest does not improve the fusion, so it is not asked. Remove it from the configuration and build again to "
        "save its time.",
    ]
    fused = replaced(calibration, Stage((0, 1, 2), EncoderFusion(np.array([0.5, 0.25, 0.25]))))
    assert list(fusion_notes(indexes[0], fused, PipelineConfig())) == [
        "fusion: weights boxes 0.50, digest 0.25, thumbnail 0.25"
    ]


def test_settings_of_several_encoders_without_effect_are_said(tmp_path):
    """A cascade of one encoder, and encoders that the index lacks."""
    index = Index.open(write_clusters(tmp_path / "index.npz"))
    calibration, _ = fit_by_leave_one_out(PipelineConfig().retrieval, [index])
    config = PipelineConfig(retrieval={"cascade": True})
    assert list(fusion_notes(index, calibration, config)) == [
        "retrieval.cascade has no effect, because the index has one encoder"
    ]
    config = PipelineConfig(encoder=[{"backend": "lite"}, {"backend": "descriptor"}])
    (note,) = fusion_notes(index, calibration, config)
    assert "so `classify` will not use it. Run `lmm-classifier build` with this configuration" in note
    assert other_encoders(index.manifest, config) in note
    assert other_encoders(index.manifest, PipelineConfig()) == ""


def test_one_encoder_needs_no_notes(tmp_path):
    """Nor ladders."""
    index = Index.open(write_clusters(tmp_path / "index.npz"))
    calibration, predictions = fit_by_leave_one_out(PipelineConfig().retrieval, [index])
    assert list(fusion_notes(index, calibration, PipelineConfig())) == []
    assert compare_ladders([index], predictions, CalibrationRequest(), equal=False) == ()
    assert fused_tradeoff([index], calibration) is not None


@pytest.mark.long
def test_without_known_groups_the_weights_are_equal(tmp_path):
    """Leave-one-out favors an encoder that recognizes objects. With groups the weights are fitted."""
    path = build_index(add_views(draw_sides(tmp_path / "dataset"), 3), tmp_path / "index.npz")
    report = calibrate_index(path, PipelineConfig.offline())
    assert "all encoders have equal weights" in report.warning
    np.testing.assert_allclose(report.calibration.cascade.stages[-1].fusion.weights, 1 / 3)
    report = calibrate_index(path, PipelineConfig.offline(), CalibrationRequest(group_by=r"/0(\d)"))
    assert report.warning == ""
    (stage,) = report.calibration.cascade.stages
    weights = dict(zip(stage.encoders, stage.fusion.weights))
    assert weights.get(1, 0) < min(weights[0], weights[2]) / 2
    names = {ladder.name for ladder in report.calibration.ladders}
    assert {"boxes", "boxes + thumbnail", "digest -> thumbnail -> boxes"} <= names
    assert len(names) == 19
    assert all(ladder.milliseconds > 0 for ladder in report.calibration.ladders)
    assert report.accuracy > 0.9
