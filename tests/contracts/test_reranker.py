"""The contract of every reranker."""

import contextlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.config import PipelineConfig, RerankConfig
from lmm_classifier.core.datatypes import Candidate, RerankRequest
from lmm_classifier.core.reopening import Closable
from lmm_classifier.data.synthetic.shapes import SHAPES, draw_labeled
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.rerank.registry import open_reranker
from tests.fixtures import TRAINED_TEMPLATE
from tests.helpers.datasets import offline_config
from tests.helpers.tiny_qwen2_vl import CHECKPOINT, needs_torch


@pytest.fixture(scope="module", params=["views", "vlm"])
def reranker(request, tmp_path_factory):
    """A reranker as the classifier opens it, over a dataset of drawn shapes."""
    root = tmp_path_factory.mktemp("contract")
    for number, (label, image) in enumerate(draw_labeled(3, seed=1)):
        (root / "dataset" / label).mkdir(parents=True, exist_ok=True)
        image.save(root / "dataset" / label / f"{number:02}.png")
    build_index_from_directory(root / "dataset", root / "index.npz", config=PipelineConfig.offline())
    config = offline_config(root / "index.npz")
    if request.param == "vlm":
        needs_torch()
        config.rerank = RerankConfig(
            model_name=str(CHECKPOINT),
            prompt_template=TRAINED_TEMPLATE,
            cache="off",
            model={"dtype": "float32"},
            prompt={"min_visual_tokens": 4, "max_visual_tokens": 4, "min_option_mass": 0.01},
        )
    return HybridClassifier(config).reranker


def requests(count, labels=SHAPES[:4]):
    candidates = tuple(Candidate(label, 1 / len(labels), ()) for label in labels)
    images = [image for label, image in draw_labeled(4, seed=2) if label in labels]  # the truth is among the options
    return [RerankRequest(images[number % len(images)], candidates) for number in range(count)]


def test_one_answer_per_request(reranker):
    """Each request gets one answer, a distribution over its candidates; no request gets none."""
    assert reranker.rerank([]) == []
    answers = reranker.rerank(requests(7))
    assert len(answers) == 7
    for answer in answers:
        assert answer.failure == ""
        assert len(answer.scores) == 4
        assert min(answer.scores) >= 0
        assert sum(answer.scores) == pytest.approx(1)
        assert 0 <= answer.option_mass <= 1 + 1e-6


def test_scores_are_in_the_order_of_the_candidates(reranker):
    """Reordered candidates get their scores in the new order: for nearly all, the best stays the best."""
    original = requests(8)
    reordered = [RerankRequest(request.image, request.candidates[::-1]) for request in original]
    pairs = zip(reranker.rerank(original), reranker.rerank(reordered))
    assert np.mean([np.argmax(a.scores) == 3 - np.argmax(b.scores) for a, b in pairs]) >= 0.85


def test_answers_do_not_depend_on_the_batch(reranker):
    """Requests get the same scores in one batch, alone, and in another order."""
    batch = requests(5) + requests(2, SHAPES[2:5])
    answers = reranker.rerank(batch)
    reversed_answers = reranker.rerank(batch[::-1])[::-1]
    for request, answer, in_reverse in zip(batch, answers, reversed_answers):
        (alone,) = reranker.rerank([request])
        np.testing.assert_allclose(answer.scores, in_reverse.scores, atol=1e-4)
        np.testing.assert_allclose(answer.scores, alone.scores, atol=1e-4)


@pytest.mark.parametrize("backend", ["vlm", "openai_api"])
def test_a_copy_opens_the_model_or_the_connection_again(backend, tmp_path):
    """Another process can be sent a reranker, with its stored answers; closing it twice is no error."""
    if backend == "vlm":
        needs_torch()
    pytest.importorskip("httpx2", reason="httpx2 is not installed")
    config = RerankConfig(backend=backend, model_name=str(CHECKPOINT))
    with contextlib.chdir(tmp_path):
        original = open_reranker(config, None, Path("index"))
    other = pickle.loads(pickle.dumps(original))
    assert isinstance(other, Closable)
    assert (other.identity, other.path) == (original.identity, tmp_path / "index.answers.sqlite")
    for reranker in (original, other, original):
        reranker.close()


@pytest.mark.parametrize("size", [(1, 1), (300, 2), (640, 480)])
def test_images_of_any_size(reranker, size):
    """An image of any size gets an answer or a failure, never an exception."""
    candidates = tuple(Candidate(label, 0.5, ()) for label in SHAPES[:2])
    (answer,) = reranker.rerank([RerankRequest(Image.new("RGB", size, (90, 20, 160)), candidates)])
    assert answer.failure or sum(answer.scores) == pytest.approx(1)
