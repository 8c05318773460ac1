"""Reranking is measured on a dataset with real models, and used only where it was measured to help."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml

from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import CalibrationError, Cancelled, RerankerError
from lmm_classifier.data.synthetic.shapes import SHAPES, draw_labeled, draw_shape
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.rerank_calibrator import measure_reranker
from lmm_classifier.rerank.vlm import VlmReranker
from tests.fixtures import TRAINED_TEMPLATE
from tests.helpers.tiny_qwen2_vl import CHECKPOINT, needs_torch

SETTINGS = {
    "encoder": {"backend": "descriptor"},
    "allow_unknown": False,
    "retrieval": {"index_path": "index.npz"},
    "rerank": {
        "model_name": str(CHECKPOINT),
        "prompt_template": TRAINED_TEMPLATE,
        "model": {"dtype": "float32", "batch_size": 16},
        "prompt": {"min_visual_tokens": 4, "max_visual_tokens": 4},
    },
}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A small dataset of drawn shapes with its index, and a configuration with the tiny Qwen2-VL."""
    root = tmp_path_factory.mktemp("reranking")
    for number, (label, image) in enumerate(draw_labeled(7, seed=11)):
        (root / "dataset" / label).mkdir(parents=True, exist_ok=True)
        image.save(root / "dataset" / label / f"{number:04}.png")
    (root / "lmm.yaml").write_text(yaml.safe_dump(SETTINGS))
    config = PipelineConfig.from_yaml(root / "lmm.yaml")
    build_index_from_directory(root / "dataset", root / "index.npz", config=config)
    return root


@pytest.fixture
def place(original, tmp_path):
    for name in ("index.npz", "lmm.yaml"):
        shutil.copy(original / name, tmp_path)
    return tmp_path


def configured(place, **rerank):
    if rerank.get("backend") != "views":
        needs_torch()
    config = PipelineConfig.from_yaml(place / "lmm.yaml")
    config.retrieval.index_path = place / "index.npz"
    for key, value in rerank.items():
        config.set(f"rerank.{key.replace('__', '.')}={value}")
    return config


def calibrated_benefit(config, **request):
    return calibrate_index(
        config.retrieval.index_path, config, CalibrationRequest(**request)
    ).calibration.reranker_benefit


def new_images(per_class, seed):
    return [image for _, image in draw_labeled(per_class, seed=seed)]


@pytest.mark.long
def test_an_interrupted_run_resumes(place, monkeypatch):
    """An answered question is not asked again, and a larger number of calls asks only for the rest."""
    config = configured(place)
    asked = []
    rerank = VlmReranker.rerank

    def counted(self, requests):
        asked.extend(requests)
        return rerank(self, requests)

    def cancel(progress):
        if progress.done == 20:
            raise Cancelled

    monkeypatch.setattr(VlmReranker, "rerank", counted)
    with pytest.raises(Cancelled):
        measure_reranker(place / "index.npz", config, 20, cancel)
    assert len(asked) == 20
    asked.clear()
    benefit = calibrated_benefit(config, max_calls=20)
    assert asked == []
    assert len(benefit.outcomes.gain) == 20
    calibrated_benefit(config, max_calls=25)
    assert 0 < len(asked) <= 15


@pytest.mark.long
def test_measuring_alone_changes_no_index(place):
    """`measure_reranker` returns what a calibration would store, and reports its progress."""
    config = configured(place)
    before = (place / "index.npz").read_bytes()
    steps = []
    benefit = measure_reranker(place / "index.npz", config, 20, steps.append)
    assert [(step.stage, step.done, step.total) for step in steps[-1:]] == [("reranking", 20, 20)]
    assert (place / "index.npz").read_bytes() == before
    stored = calibrated_benefit(config, max_calls=20)
    assert stored.identity == benefit.identity
    np.testing.assert_array_equal(stored.outcomes.fused, benefit.outcomes.fused)


def test_a_benefit_belongs_to_one_model_and_prompt(place, caplog):
    """Another prompt is another reranker: its benefit is not used, with a warning; a new calibration keeps it."""
    config = configured(place)
    benefit = calibrated_benefit(config, max_calls=20)
    assert HybridClassifier(config).reranker_benefit.identity == benefit.identity
    assert calibrated_benefit(config, keep_known=0.9).identity == benefit.identity
    config.rerank.prompt.orders = 1
    assert HybridClassifier(config).reranker_benefit is None
    assert "measured with another reranker" in caplog.text


@pytest.mark.long
def test_a_model_that_does_not_help_is_not_asked(place, caplog):
    """Label names that mean nothing to the model: it is disabled, with the figures, and retrieval's answers stand."""
    dataset = place / "renamed"
    names = dict(zip(SHAPES, ("q1", "w2", "e3", "r4", "t5", "y6", "u7", "i8")))
    rng = np.random.default_rng(0)
    for label, name in names.items():
        (dataset / name).mkdir(parents=True)
        for number in range(7):
            draw_shape(label, rng).save(dataset / name / f"{number}.png")
    config = configured(place, prompt__min_option_mass=0.0)
    build_index_from_directory(dataset, place / "index.npz", config=config, replace=True)
    assert not calibrated_benefit(config, max_calls=56).outcomes.pays
    caplog.set_level("INFO")
    classifier = HybridClassifier(config)
    assert "Reranking is off: its net gain on this dataset was" in caplog.text
    images = new_images(3, seed=22)
    assert not any(result.used_reranker for result in classifier.classify_many(images))
    config.rerank.gate.mode = "threshold"
    assert any(result.used_reranker for result in HybridClassifier(config).classify_many(images))


@pytest.mark.long
def test_reference_images_need_the_dataset(place, original):
    """With example images it works in the whole pipeline; without the dataset folder the error names it."""
    config = configured(place, prompt__mode="references", prompt__references=2, cache="off", gate__mode="threshold")
    config.retrieval.confidence_threshold = 0.95
    results = HybridClassifier(config).classify_many(new_images(2, seed=22))
    assert any(result.used_reranker for result in results)
    (original / "dataset").rename(original / "elsewhere")
    try:
        with pytest.raises(RerankerError, match=r"rerank\.prompt\.mode: names"):
            HybridClassifier(config)
        with pytest.raises(CalibrationError, match="the dataset folder .*dataset is missing"):
            calibrated_benefit(config, max_calls=30)
    finally:
        (original / "elsewhere").rename(original / "dataset")


@pytest.mark.long
def test_augmented_views_are_measured_by_folds(place, monkeypatch, caplog):
    """The reranker without a model does not know the examples it is asked about; it is used only where it helps.

    The rule is fitted to each part, which is no start of an index: nobody is told to calibrate, who does.
    """
    monkeypatch.setattr("lmm_classifier.calibration.cross_fitting._FOLDS", 3)
    monkeypatch.setattr("lmm_classifier.pipeline.slow_start.SECONDS", 0.0)
    config = configured(place, backend="views")
    benefit = calibrated_benefit(config, max_calls=20)
    assert not [record for record in caplog.records if record.name.endswith("slow_start")]
    assert benefit.identity == "views:five"
    assert benefit.outcomes.failed.sum() == 0
    net, error = benefit.outcomes.net
    assert benefit.outcomes.pays == (net > error + 1e-12)
    results = HybridClassifier(config).classify_many(new_images(2, seed=3))
    assert benefit.outcomes.pays or not any(result.used_reranker for result in results)


@pytest.mark.parametrize(
    ("rerank", "reason"),
    [
        ({"enabled": "false"}, "rerank.enabled is false"),
        ({"prompt__min_option_mass": 1.0}, "probability of only"),
        ({"backend": "openai_api", "server__base_url": "http://127.0.0.1:9/v1"}, "too few to measure it"),
    ],
)
def test_a_reranker_that_cannot_be_measured_is_an_error(place, rerank, reason):
    """It is off or does not answer: the error gives the reason, and the index is unchanged."""
    before = (place / "index.npz").read_bytes()
    with pytest.raises(CalibrationError, match=reason):
        calibrated_benefit(configured(place, **rerank), max_calls=20)
    assert (place / "index.npz").read_bytes() == before


@pytest.mark.long
def test_the_fused_score_stays_a_probability(place):
    """It is at most what retrieval gave the candidates together, and candidates keep their neighbors."""
    config = configured(place, cache="off", gate__mode="threshold")
    config.retrieval.confidence_threshold = 1.0
    for result in HybridClassifier(config).classify_many(new_images(2, seed=5)):
        assert result.score <= sum(candidate.score for candidate in result.candidates) + 1e-9
        assert all(candidate.neighbors for candidate in result.candidates)
        assert result.label == result.candidates[0].label


def test_a_model_out_of_memory_leaves_retrievals_answer(place):
    """Whatever a reranker raises becomes the error of the result."""
    config = configured(place, cache="off", gate__mode="threshold")
    config.retrieval.confidence_threshold = 1.0
    classifier = HybridClassifier(config)

    class OutOfMemory:
        identity, references, trust = "broken", 0, (1.0, 1.0)

        def rerank(self, requests):
            raise MemoryError("CUDA out of memory")

    current = classifier._current_flow
    current._flow = replace(current._flow, reranker=OutOfMemory())
    for result in classifier.classify_many(new_images(1, seed=5)):
        if result.decision.reason != "confident":
            assert result.decision.reason == "reranker_failed"
            assert "out of memory" in result.error
