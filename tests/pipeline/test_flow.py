"""Scores become decisions; ambiguous images are reranked, and whatever fails leaves retrieval's answer."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import RerankResult
from lmm_classifier.core.errors import UnreadableImageError
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.opening import open_index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.flow import Flow, Query
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from tests.helpers.datasets import draw_dataset, offline_config

SIMILAR = ("polka_dots", "pin_dots", "stripes", "pinstripe")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A dataset of labels that are hard to tell apart, its index, and new images of the same labels."""
    root = tmp_path_factory.mktemp("flow")
    draw_dataset(root / "dataset", SIMILAR, count=6, size=32)
    draw_dataset(root / "new", SIMILAR, count=3, seed=1, size=32)
    build_index_from_directory(root / "dataset", root / "index.npz", config=PipelineConfig.offline())
    return root


@pytest.fixture
def config(place):
    """The offline configuration, which never rejects an image."""
    return offline_config(place / "index.npz", retrieval__open_set_threshold=-1.0)


def open_flow(config, former=None):
    return Flow.open(config, [DescriptorEncoder()], open_index(config.retrieval, [["descriptor"]]), former)


def new_images(place):
    return sorted((place / "new").rglob("*.png"))


def ask(flow, place):
    images = [Image.open(path).convert("RGB") for path in new_images(place)]
    vectors = QueryVectors.given(encode_images(DescriptorEncoder(), images))
    return flow.classify(vectors, [Query(lambda image=image: image) for image in images])


class Raising:
    """A reranker that raises, as a foreign library may."""

    def rerank(self, requests):
        raise RuntimeError("out of memory")


class Silent:
    """A reranker that has no answer for any image."""

    def rerank(self, requests):
        return [RerankResult((), 0.01, "no probability on the options") for _ in requests]


@pytest.mark.parametrize(("reranker", "message"), [(Raising(), "out of memory"), (Silent(), "no probability")])
def test_a_failing_reranker_leaves_retrievals_answer(place, config, reranker, message):
    """The result says what went wrong, and nothing is lost."""
    config.retrieval.confidence_threshold = 1.0
    failing = replace(open_flow(config), reranker=reranker)
    config.rerank.enabled = False
    for result, plain in zip(ask(failing, place), ask(open_flow(config), place), strict=True):
        assert (result.label, result.score, result.candidates) == (plain.label, plain.score, plain.candidates)
        if result.score < 1.0:
            assert result.decision.reason == "reranker_failed"
            assert message in result.error
            assert message in result.why
            assert not result.used_reranker


def test_only_ambiguous_images_are_asked_about(place, config):
    """A confident result never reaches the reranker; another one does, and shows both scores."""
    flow = open_flow(config)
    results = ask(flow, place)
    assert {result.used_reranker for result in results} == {True, False}
    for result in results:
        best = max(candidate.score for candidate in result.candidates)
        assert result.used_reranker == (best < flow.thresholds.confidence.value)
        if result.used_reranker:
            assert result.decision.reason == "reranked"
            assert result.label == result.candidates[0].label
            assert 0 < result.score <= sum(candidate.score for candidate in result.candidates) + 1e-9
            assert sum(candidate.rerank_score for candidate in result.candidates) == pytest.approx(1)
        else:
            assert result.candidates[0].rerank_score is None


def test_a_file_that_changed_after_it_was_encoded_is_not_reranked(place, config, tmp_path):
    """Its pixels are read again for the reranker: where they changed or are missing, retrieval's answer stands."""
    config.retrieval.confidence_threshold = 1.0
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, source in zip(paths, new_images(place)[::4]):
        path.write_bytes(source.read_bytes())

    class ChangesFiles(DescriptorEncoder):
        def encode(self, preprocessed):
            draw("tartan", np.random.default_rng(9), 60).save(paths[0])
            paths[1].unlink(missing_ok=True)
            return super().encode(preprocessed)

    changed, missing, unchanged = HybridClassifier(config, ChangesFiles()).classify_paths(paths)
    assert changed.decision.reason == missing.decision.reason == "reranker_failed"
    assert "the file changed after it was encoded" in changed.error
    assert "cannot be read again" in missing.error
    assert unchanged.decision.reason == "reranked"


def test_pixels_are_loaded_only_for_images_that_are_asked_about(place, config):
    """Each query loads its own image, and only where the result is ambiguous."""
    images = [Image.open(path).convert("RGB") for path in new_images(place)]
    loaded = []

    def load(number):
        loaded.append(number)
        raise UnreadableImageError("moved")

    flow = open_flow(config)
    queries = [Query(lambda number=number: load(number)) for number in range(len(images))]
    results = flow.classify(QueryVectors.given(encode_images(DescriptorEncoder(), images)), queries)
    assert loaded == [number for number, result in enumerate(results) if result.decision.reason != "confident"]
    assert loaded


def test_prediction_sets_begin_with_the_best_label(place, config):
    """They are given only where they were asked for, and are larger for a smaller alpha."""
    config.rerank.enabled = False
    assert all(result.prediction_set is None for result in ask(open_flow(config), place))
    sizes = {}
    for alpha in (0.3, 0.05):
        config.retrieval.prediction_set_alpha = alpha
        results = ask(open_flow(config), place)
        assert all(result.prediction_set[0] == result.candidates[0].label for result in results)
        sizes[alpha] = sum(len(result.prediction_set) for result in results)
    assert sizes[0.05] > sizes[0.3]


@pytest.mark.long
def test_a_former_flow_changes_no_result(place, config):
    """Reranking by augmented views knows the examples, so it is opened again with the index."""
    former = open_flow(config)
    reopened = open_flow(config, former)
    assert reopened.reranker is not former.reranker
    assert ask(reopened, place) == ask(former, place)
    config.rerank.enabled = False
    assert open_flow(config).reranker is None
