"""What every reranker promises."""

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.config import PipelineConfig, RerankConfig
from lmm_classifier.core.datatypes import Candidate, Question
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.classifier import HybridClassifier
from tests.fixtures import TRAINED_TEMPLATE
from tests.helpers.corpora import offline_config
from tests.helpers.shapes import CLASSES, labelled
from tests.rerank.test_qwen2_vl import CHECKPOINT


@pytest.fixture(scope="module", params=["views", "qwen2_vl"])
def reranker(request, tmp_path_factory):
    """A reranker as the classifier opens it, over a corpus of drawn shapes."""
    root = tmp_path_factory.mktemp("contract")
    for number, (label, image) in enumerate(labelled(3, seed=1)):
        (root / "corpus" / label).mkdir(parents=True, exist_ok=True)
        image.save(root / "corpus" / label / f"{number:02}.png")
    build_index_from_directory(root / "corpus", root / "index.npz", config=PipelineConfig.offline())
    config = offline_config(root / "index.npz")
    if request.param == "qwen2_vl":
        options = {"dtype": "float32", "min_visual_tokens": 4, "max_visual_tokens": 4, "min_label_mass": 0.01}
        options |= {"prompt_template": TRAINED_TEMPLATE, "cache": "off"}
        config.rerank = RerankConfig(model_name=str(CHECKPOINT), **options)
    return HybridClassifier(config).reranker


def questions(count, labels=CLASSES[:4]):
    candidates = tuple(Candidate(label, 1 / len(labels), ()) for label in labels)
    pictures = [image for label, image in labelled(4, seed=2) if label in labels]  # the truth is among the options
    return [Question(pictures[number % len(pictures)], candidates) for number in range(count)]


def test_one_answer_per_question(reranker):
    """As many answers as questions, none for none; each is a distribution over its candidates, or a failure."""
    assert reranker.rerank([]) == []
    answers = reranker.rerank(questions(7))
    assert len(answers) == 7
    for answer in answers:
        assert answer.failure == ""
        assert len(answer.scores) == 4
        assert min(answer.scores) >= 0
        assert sum(answer.scores) == pytest.approx(1)
        assert 0 <= answer.label_mass <= 1 + 1e-6


def test_scores_stay_with_their_candidates(reranker):
    """Reordered candidates get their scores in the new order: the best stays the best for nearly all."""
    asked = questions(16)
    turned = [Question(one.image, one.candidates[::-1]) for one in asked]
    pairs = zip(reranker.rerank(asked), reranker.rerank(turned))
    assert np.mean([np.argmax(a.scores) == 3 - np.argmax(b.scores) for a, b in pairs]) >= 0.85


def test_answers_do_not_depend_on_the_batch(reranker):
    """Alone, together, in another order: the same shares."""
    asked = questions(5) + questions(2, CLASSES[2:5])
    together = reranker.rerank(asked)
    backwards = reranker.rerank(asked[::-1])[::-1]
    for question, one, other in zip(asked, together, backwards):
        (alone,) = reranker.rerank([question])
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
        np.testing.assert_allclose(one.scores, alone.scores, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (300, 2), (640, 480)])
def test_pictures_of_any_shape(reranker, size):
    """No picture breaks it."""
    candidates = tuple(Candidate(label, 0.5, ()) for label in CLASSES[:2])
    (answer,) = reranker.rerank([Question(Image.new("RGB", size, (90, 20, 160)), candidates)])
    assert answer.failure or sum(answer.scores) == pytest.approx(1)
