"""Measuring a second look on a corpus, by the command line and with the real models, and living by the outcome."""

import json
import shutil
import sqlite3

import numpy as np
import pytest
import yaml
from PIL import Image

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Reranked
from lmm_classifier.core.errors import CalibrationError, RerankerError
from lmm_classifier.data.images import ImageLimits
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.pipeline.calibrator import Wish, calibrate
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.reference_images import References
from tests.cli.test_app import run
from tests.fixtures import TRAINED_TEMPLATE
from tests.helpers.shapes import CLASSES, draw, labelled
from tests.rerank.test_qwen2_vl import CHECKPOINT

SETTINGS = {
    "encoder": {"backend": "descriptor"},
    "allow_unknown": False,
    "retrieval": {"index_path": "index.npz"},
    "rerank": {
        "model_name": str(CHECKPOINT),
        "dtype": "float32",
        "min_visual_tokens": 4,
        "max_visual_tokens": 4,
        "batch_size": 16,
        "prompt_template": TRAINED_TEMPLATE,
    },
}


def paint(root, per_class, seed):
    for number, (label, image) in enumerate(labelled(per_class, seed=seed)):
        (root / label).mkdir(parents=True, exist_ok=True)
        image.save(root / label / f"{number:04}.png")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A thin corpus of drawn shapes with its index, new pictures, and a configuration with the tiny Qwen2-VL."""
    root = tmp_path_factory.mktemp("second-look")
    paint(root / "corpus", 7, 11)
    paint(root / "new", 8, 22)
    (root / "lmm.yaml").write_text(yaml.safe_dump(SETTINGS))
    config = PipelineConfig.from_yaml(root / "lmm.yaml")
    build_index_from_directory(root / "corpus", root / "index.npz", config=config)
    return root


@pytest.fixture
def place(original, tmp_path):
    for name in ("index.npz", "lmm.yaml"):
        shutil.copy(original / name, tmp_path)
    shutil.copytree(original / "new", tmp_path / "new")
    return tmp_path


def test_as_a_user_types_it(place):
    """Calibrate measures it, report shows it, classify asks where it pays, and a second run asks nothing."""
    said = run("calibrate", "--rerank", "--calls", 40, "--config", "lmm.yaml", cwd=place).stdout
    assert "second look, measured on 40 left-out examples (0 without an answer)" in said
    assert "calls per 1000" in said
    done = run("report", "index.npz", "--output", "report.html", "--json", "report.json", cwd=place)
    assert "by expected gain" in done.stdout
    figures = json.loads((place / "report.json").read_text())
    assert figures["accuracy"]["fused_everywhere"] >= figures["accuracy"]["retrieval"]
    assert len(figures["frontier"]) == 8
    described = run("info", "index.npz", cwd=place).stdout
    assert "second look" in described
    assert "\\n" not in described
    page = (place / "report.html").read_text()
    assert "Accuracy against calls" in page
    assert "<svg" in page
    first = run("classify", "new", "--format", "jsonl", "--config", "lmm.yaml", cwd=place)
    verdicts = [json.loads(line) for line in first.stdout.splitlines()]
    asked = [one for one in verdicts if one["used_reranker"]]
    assert asked
    assert all(one["reason"] == "reranked" and 0 <= one["disagreement"] <= 1 for one in asked)
    assert all(0 < one["score"] <= 1 for one in verdicts)
    with sqlite3.connect(place / "index.answers.sqlite") as database:
        kept = database.execute("SELECT COUNT(*) FROM answers").fetchone()[0]
    # the model is not even there any more
    again = run("classify", "new", "--format", "jsonl", "--config", "lmm.yaml", cwd=place)
    assert again.stdout == first.stdout
    with sqlite3.connect(place / "index.answers.sqlite") as database:
        assert database.execute("SELECT COUNT(*) FROM answers").fetchone()[0] == kept


def configured(place, **rerank):
    config = PipelineConfig.from_yaml(place / "lmm.yaml")
    config.retrieval.index_path = place / "index.npz"
    for key, value in rerank.items():
        setattr(config.rerank, key, value)
    return config


def test_an_interrupted_run_goes_on(place, monkeypatch):
    """What was answered before the interruption is not asked again, and a larger budget asks only for more."""
    config = configured(place)
    calibrate(place / "index.npz", config, Wish(rerank_calls=30))
    from lmm_classifier.rerank.qwen2_vl import Qwen2VLReranker

    asked = []
    real = Qwen2VLReranker.rerank

    def counted(self, questions):
        asked.extend(questions)
        return real(self, questions)

    monkeypatch.setattr(Qwen2VLReranker, "rerank", counted)
    calibrate(place / "index.npz", config, Wish(rerank_calls=30))
    assert asked == []
    calibrate(place / "index.npz", config, Wish(rerank_calls=45))
    assert 0 < len(asked) <= 25


def test_what_was_measured_belongs_to_one_model(place, caplog):
    """Another wording is another reranker: its measurements are not used, with a warning; calibrate keeps the old."""
    config = configured(place)
    found = calibrate(place / "index.npz", config, Wish(rerank_calls=56)).calibration.second_look
    assert HybridClassifier(config).second_look.identity == found.identity
    kept = calibrate(place / "index.npz", config, Wish(keep_known=0.9)).calibration.second_look
    assert kept.identity == found.identity
    config.rerank.orders = 1
    assert HybridClassifier(config).second_look is None
    assert "measured with another reranker" in caplog.text


def test_a_model_that_does_not_pay_is_not_asked(place, caplog):
    """Labels that say nothing to the model: it is switched off, with the figures, and retrieval's answers stand."""
    corpus = place / "renamed"
    names = dict(zip(CLASSES, ("q1", "w2", "e3", "r4", "t5", "y6", "u7", "i8")))
    rng = np.random.default_rng(0)
    for label, name in names.items():
        (corpus / name).mkdir(parents=True)
        for number in range(7):
            draw(label, rng).save(corpus / name / f"{number}.png")
    config = configured(place, min_label_mass=0.0)
    build_index_from_directory(corpus, place / "index.npz", config=config)
    found = calibrate(place / "index.npz", config, Wish(rerank_calls=56)).calibration.second_look
    assert not found.outcomes.pays
    caplog.set_level("INFO")
    classifier = HybridClassifier(config)
    assert "no second look: on this corpus its net gain" in caplog.text
    results = classifier.classify_many([image for _, image in labelled(3, seed=22)])
    assert not any(result.used_reranker for result in results)
    config.rerank.gate = "threshold"
    asked = HybridClassifier(config).classify_many([image for _, image in labelled(3, seed=22)])
    assert any(result.used_reranker for result in asked)


def test_by_references(place, original):
    """With example pictures it works through the whole pipeline; without the corpus folder it says what is missing."""
    config = configured(place, mode="references", references=2, cache="off", gate="threshold")
    config.retrieval.confidence_threshold = 0.95
    classifier = HybridClassifier(config)
    results = classifier.classify_many([image for _, image in labelled(4, seed=22)])
    assert any(result.used_reranker for result in results)
    moved = original / "corpus"
    moved.rename(original / "elsewhere")
    try:
        with pytest.raises(RerankerError, match=r"rerank\.mode: names"):
            HybridClassifier(config)
        with pytest.raises(CalibrationError, match="is not there"):
            calibrate(place / "index.npz", config, Wish(rerank_calls=30))
    finally:
        (original / "elsewhere").rename(moved)


def test_references_are_near_typical_and_readable(place, original):
    """The picture itself is never its own reference; a file that broke is passed over; labels keep their order."""
    index = ExactIndex.open(place / "index.npz")
    references = References(index, 3, ImageLimits())
    comparison = index.compare(index.vectors()[:1], [index.hashes[0]])
    labels = [index.examples[0].label, "dots"]
    shown = references.of(comparison, 0, labels)
    assert [len(pictures) for pictures in shown] == [3, 3]
    own = np.asarray(Image.open(original / "corpus" / index.examples[0].path))
    for pictures in shown:
        assert not any(np.array_equal(np.asarray(picture), own) for picture in pictures)
    hidden = original / "corpus" / "dots"
    victim = sorted(hidden.iterdir())[0]
    content = victim.read_bytes()
    victim.write_bytes(b"broken")
    try:
        fresh = References(index, 7, ImageLimits()).of(comparison, 0, ["dots"])
        assert len(fresh[0]) == 6
    finally:
        victim.write_bytes(content)
    assert References(index, 0, ImageLimits()).of(comparison, 0, labels) == ()


def test_by_views(place):
    """The look without a model is measured by folds that do not know the example, and used or switched off."""
    config = configured(place, backend="views")
    found = calibrate(place / "index.npz", config, Wish(rerank_calls=56)).calibration.second_look
    assert found.identity == "views:five"
    assert found.outcomes.failed.sum() == 0
    net, error = found.outcomes.net
    assert found.outcomes.pays == (net > error + 1e-12)
    used = any(r.used_reranker for r in HybridClassifier(config).classify_many([i for _, i in labelled(6, seed=3)]))
    assert found.outcomes.pays or not used


@pytest.mark.parametrize(
    ("wish", "rerank", "reason"),
    [
        (Wish(rerank_calls=30), {"enabled": False}, "rerank.enabled is false"),
        (Wish(rerank_calls=30), {"min_label_mass": 1.0}, "probability of only"),
        (Wish(rerank_calls=30), {"backend": "openai_api", "base_url": "http://127.0.0.1:9/v1"}, "no answer"),
    ],
)
def test_what_cannot_be_measured(place, wish, rerank, reason):
    """A second look that is off or does not answer: an error with the reason, the index as it was."""
    before = (place / "index.npz").read_bytes()
    with pytest.raises(CalibrationError, match=reason):
        calibrate(place / "index.npz", configured(place, **rerank), wish)
    assert (place / "index.npz").read_bytes() == before


def test_report_without_measurements(place):
    """It says what to type."""
    done = run("report", "index.npz", cwd=place, code=1)
    assert "calibrate index.npz --rerank" in done.stderr


def test_the_score_stays_a_probability(place):
    """Fused scores are at most what retrieval gave the candidates together, and candidates keep their evidence."""
    config = configured(place, cache="off", gate="threshold")
    config.retrieval.confidence_threshold = 1.0
    for result in HybridClassifier(config).classify_many([image for _, image in labelled(2, seed=5)]):
        assert result.score <= sum(candidate.score for candidate in result.candidates) + 1e-9
        assert all(candidate.neighbors for candidate in result.candidates)
        assert result.label == result.candidates[0].label


def test_a_reranker_that_raises_is_a_failure(place):
    """Whatever goes wrong inside becomes an answer of retrieval with the reason."""
    config = configured(place, cache="off", gate="threshold")
    config.retrieval.confidence_threshold = 1.0
    classifier = HybridClassifier(config)

    class Broken:
        identity, references, trust = "broken", 0, (1.0, 1.0)

        def rerank(self, questions):
            raise MemoryError("CUDA out of memory")

    classifier.flow.reranker = Broken()
    for result in classifier.classify_many([image for _, image in labelled(1, seed=5)]):
        if result.decision.reason != "confident":
            assert result.decision.reason == "reranker_failed"
            assert "out of memory" in result.error
    assert Reranked((), 0.0, "x").failure
