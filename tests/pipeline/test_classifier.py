"""The classifier: one road for all, the same answer every way, evidence that is real."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Reranked
from lmm_classifier.core.errors import ConfigError, IndexFileError, IndexMismatchError
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.classifier import HybridClassifier
from tests.helpers.corpora import LABELS, draw_corpus, offline_config


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A corpus, its index, and new pictures of the same labels."""
    root = tmp_path_factory.mktemp("pipeline")
    draw_corpus(root / "corpus", count=8)
    draw_corpus(root / "new", count=5, seed=1)
    build_index_from_directory(root / "corpus", root / "index.npz", config=PipelineConfig.offline())
    return root


@pytest.fixture
def config(place):
    return offline_config(place / "index.npz", retrieval__open_set_threshold=-1.0)


def new_pictures(place):
    return sorted((place / "new").rglob("*.png"))


def test_new_pictures_are_mostly_right(place, config):
    """Four patterns with eight examples each: far above chance, with labels in path order."""
    paths = new_pictures(place)
    results = list(HybridClassifier(config).classify_paths(paths))
    assert [result.path for result in results] == [str(path) for path in paths]
    right = sum(result.label == path.parent.name for path, result in zip(paths, results))
    assert right >= 16  # of 20; chance is 5


def test_one_road(place, config):
    """A picture gets the same verdict alone, among many, and from its file."""
    classifier = HybridClassifier(config)
    path = new_pictures(place)[3]
    image = Image.open(path)
    alone = classifier.classify(image)
    many = classifier.classify_many([Image.new("L", (9, 9)), image, image])
    (file,) = classifier.classify_paths([path])
    for other in (many[1], many[2], file):
        assert other.candidates == alone.candidates
        assert (other.label, other.score, other.decision) == (alone.label, alone.score, alone.decision)
    assert classifier.classify_many([]) == []
    assert list(classifier.classify_paths([])) == []


@pytest.mark.parametrize("batch_size", [1, 7, 32, 64])
def test_same_answer_for_any_batch_order_and_threads(place, config, batch_size):
    """Bit-identical verdicts, second looks included."""
    config.retrieval.confidence_threshold = 0.9999
    paths = new_pictures(place)
    expected = {result.path: result for result in HybridClassifier(config).classify_paths(paths)}
    assert any(result.used_reranker for result in expected.values())
    config.encoder.batch_size = batch_size
    config.images.threads = 1 if batch_size == 7 else 2
    random.Random(batch_size).shuffle(paths)
    for result in HybridClassifier(config).classify_paths(paths):
        assert result == expected[result.path]


def test_evidence_is_real(place, config):
    """Neighbours are files of the corpus with their own label, nearest first, under their candidate."""
    for result in HybridClassifier(config).classify_paths(new_pictures(place)):
        assert result.similarity == max(one.similarity for c in result.candidates for one in c.neighbors)
        assert sum(candidate.score for candidate in result.candidates) <= 1 + 1e-9
        for candidate in result.candidates:
            assert 1 <= len(candidate.neighbors) <= 3
            near = [neighbor.similarity for neighbor in candidate.neighbors]
            assert near == sorted(near, reverse=True)
            for neighbor in candidate.neighbors:
                assert neighbor.example.label == candidate.label
                assert (place / "corpus" / neighbor.example.path).is_file()
        json.loads(result.to_json())


def test_leave_out_identical(place, config):
    """A corpus picture finds itself, and does not when its own bytes are left out."""
    path = place / "corpus" / "stripes" / "00.png"
    classifier = HybridClassifier(config)
    (itself,) = classifier.classify_paths([path])
    (others,) = classifier.classify_paths([path], leave_out_identical=True)
    assert itself.similarity == pytest.approx(1, abs=1e-5)
    assert others.similarity < 0.99
    assert all(n.example.path != "stripes/00.png" for c in others.candidates for n in c.neighbors)


def test_bad_files_are_verdicts_in_their_place(place, config, tmp_path):
    """A bad file yields `unreadable` with the error, and the others are as ever."""
    good = new_pictures(place)[0]
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    paths = [good, tmp_path / "cut.jpg", tmp_path / "missing.png", good, tmp_path]
    results = list(HybridClassifier(config).classify_paths(map(str, paths)))
    assert [result.decision.reason == "unreadable" for result in results] == [False, True, True, False, True]
    assert results[0].label == results[3].label
    for result in (results[1], results[2]):
        assert result.is_unknown
        assert result.label == "unknown"
        assert result.path.rpartition("/")[2] in result.error


def test_streaming_reads_no_further_than_needed(place, config):
    """Paths are taken as verdicts are, with a bounded look-ahead, so a folder may be of any size."""
    config.encoder.batch_size = 2
    config.images.threads = 1
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield new_pictures(place)[0]

    stream = HybridClassifier(config).classify_paths(endless())
    for _ in range(3):
        next(stream)
    stream.close()
    assert len(taken) < 40


def test_closed_set_restricts_and_forces(place, config):
    """`labels` restricts the answers and the evidence; with allow_unknown off something is always answered."""
    config.labels = ["stripes", "gingham"]
    config.allow_unknown = False
    config.retrieval.open_set_threshold = 1.0
    config.retrieval.confidence_threshold = 0.0
    results = list(HybridClassifier(config).classify_paths(new_pictures(place)))
    assert {result.label for result in results} <= {"stripes", "gingham"}
    assert {candidate.label for result in results for candidate in result.candidates} <= {"stripes", "gingham"}
    assert {result.decision.reason for result in results} == {"forced"}
    config.labels = ["strpes"]
    with pytest.raises(ConfigError, match="'strpes' not in the index"):
        HybridClassifier(config)


def test_thresholds_are_inclusive(place, config):
    """Equal to the similarity is known, one step above is unknown; the same for the vote."""
    image = Image.open(new_pictures(place)[0])
    config.retrieval.confidence_threshold = 0.0
    result = HybridClassifier(config).classify(image)
    for key, value, passed, failed in [
        ("open_set_threshold", result.similarity, "confident", "novel"),
        ("confidence_threshold", result.score, "confident", "ambiguous"),
    ]:
        changed = config.model_copy(deep=True)
        changed.rerank.enabled = False
        setattr(changed.retrieval, key, value)
        assert HybridClassifier(changed).classify(image).decision.reason == passed
        setattr(changed.retrieval, key, float(np.nextafter(value, 2)))
        assert HybridClassifier(changed).classify(image).decision.reason == failed


def test_only_ambiguous_pictures_are_asked_about(place, config):
    """A confident vote never reaches the reranker; a competing one does, and both scores are told."""
    classifier = HybridClassifier(config)
    for result in classifier.classify_paths(new_pictures(place)):
        best = max(candidate.score for candidate in result.candidates)
        assert result.used_reranker == (best < classifier.policy.confidence_threshold)
        if result.used_reranker:
            assert result.decision.reason == "reranked"
            assert result.score == result.candidates[0].rerank_score
            assert sum(candidate.rerank_score for candidate in result.candidates) == pytest.approx(1)
        else:
            assert result.candidates[0].rerank_score is None


class Broken:
    """A reranker that fails as foreign code does."""

    def rerank(self, questions):
        raise RuntimeError("out of memory")


class Silent:
    """A reranker that has no answer for any picture."""

    def rerank(self, questions):
        return [Reranked((), 0.01, "no probability on the options") for _ in questions]


@pytest.mark.parametrize(("reranker", "said"), [(Broken(), "out of memory"), (Silent(), "no probability")])
def test_a_failing_reranker_leaves_the_vote(place, config, reranker, said):
    """Retrieval's answer stands and the result says so; nothing is lost."""
    config.retrieval.confidence_threshold = 1.0
    classifier = HybridClassifier(config)
    config.rerank.enabled = False
    expected = list(HybridClassifier(config).classify_paths(new_pictures(place)))
    classifier.flow.reranker = reranker
    for got, plain in zip(classifier.classify_paths(new_pictures(place)), expected, strict=True):
        assert (got.label, got.score, got.candidates) == (plain.label, plain.score, plain.candidates)
        if got.score < 1.0:
            assert got.decision.reason == "reranker_failed"
            assert said in got.error
            assert said in got.why
            assert not got.used_reranker


def test_a_file_that_changes_before_it_is_asked_about(place, config, tmp_path):
    """Its pixels are read again for the reranker: if they are others or gone, the vote stands and says why."""
    config.retrieval.confidence_threshold = 1.0
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, source in zip(paths, new_pictures(place)[::6]):
        path.write_bytes(source.read_bytes())

    class Meddled(type(HybridClassifier(config).encoder)):
        def encode(self, prepared):
            draw("tartan", np.random.default_rng(9), 60).save(paths[0])
            paths[1].unlink(missing_ok=True)
            return super().encode(prepared)

    changed, gone, kept = HybridClassifier(config, Meddled()).classify_paths(paths)
    assert changed.decision.reason == gone.decision.reason == "reranker_failed"
    assert "changed since it was encoded" in changed.error
    assert "cannot be read again" in gone.error
    assert kept.decision.reason == "reranked"


def test_pictures_of_any_mode(place, config):
    """What the user holds is treated by the rules for files, and is not changed."""
    image = draw("stripes", np.random.default_rng(3), 96)
    classifier = HybridClassifier(config)
    expected = classifier.classify(image)
    alpha = image.convert("RGBA")
    assert classifier.classify(alpha).candidates == expected.candidates
    assert alpha.mode == "RGBA"
    assert classifier.classify(image.convert("L")).label in LABELS


def test_wrong_or_missing_index(place, config, tmp_path):
    """An index that is not there, and one of another encoder, are refused by name."""
    config.retrieval.index_path = tmp_path / "none.npz"
    with pytest.raises(IndexFileError, match="lmm-classifier build"):
        HybridClassifier(config)
    config.retrieval.index_path = place / "index.npz"

    class Other(type(HybridClassifier(config).encoder)):
        @property
        def fingerprint(self):
            return replace(super().fingerprint, revision="9")

    with pytest.raises(IndexMismatchError, match="revision differ.*descriptor:weight-free@9"):
        HybridClassifier(config, encoder=Other())


def test_an_index_of_another_kind_is_refused_before_anything_is_loaded(config):
    """Forgetting the configuration must not end in a download: the index is looked at first."""
    wrong = PipelineConfig()
    wrong.retrieval.index_path = config.retrieval.index_path
    wrong.encoder.model = "nobody/nothing"
    with pytest.raises(IndexMismatchError, match="descriptor:weight-free@1.*backend is 'siglip'.*--config"):
        HybridClassifier(wrong)


def test_restricted_to_some_labels_the_known_stay_known(place, config):
    """What is familiar is learned anew among these labels, in a space that was fitted to all of them."""
    config.labels = ["stripes", "polka_dots"]
    config.retrieval.open_set_threshold = None
    config.rerank.enabled = False
    paths = [path for path in new_pictures(place) if path.parent.name in config.labels]
    results = list(HybridClassifier(config).classify_paths(paths))
    assert sum(result.is_unknown for result in results) <= 3  # of 10
    assert {result.label for result in results} <= {*config.labels, "unknown"}
