"""What an image may be answered with changes its answer alone, and no number that is said of it."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.core.errors import ConfigError, NoSuchLabelError
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.stages.answer_options import AnswerOptions
from lmm_classifier.pipeline.stages.reranking import rerank_votes
from tests.helpers.datasets import offline_config
from tests.helpers.encoders import ColorEncoder, draw_sides

NAMES = ["blue_left", "blue_right", "green", "red"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A dataset, its index, and new images of the same labels and of none."""
    root = tmp_path_factory.mktemp("options")
    draw_sides(root / "dataset", count=6)
    draw_sides(root / "new", count=2, seed=1)
    build_index_from_directory(
        root / "dataset", root / "index", config=offline_config(root / "index"), encoder=ColorEncoder()
    )
    return root


@pytest.fixture(params=[False, True], ids=["retrieval", "reranked"])
def classifier(place, request):
    """One that says unknown to all but very familiar images, and may rerank all others."""
    ask = {"rerank__gate__mode": "threshold", "retrieval__confidence_threshold": 1.0} if request.param else {}
    config = offline_config(place / "index", rerank__enabled=request.param, retrieval__prediction_set_alpha=0.2, **ask)
    config.retrieval.keep_known = 0.6
    with HybridClassifier(config, ColorEncoder()) as made:
        yield made


@pytest.fixture
def images(place):
    gray = [np.full((16, 16, 3), value, np.uint8) for value in (0, 130, 255)]
    return [*(path.read_bytes() for path in sorted((place / "new").rglob("*.png"))), *gray]


def every_option():
    subsets = [None, *(names for size in (1, 2, 4) for names in itertools.combinations(NAMES, size))]
    return [AnswerOptions(labels, allow) for labels in subsets for allow in (None, True, False)]


def test_a_batch_answers_each_image_as_it_was_asked(classifier, images):
    """Bit by bit as alone, whatever is asked of the others in the batch."""
    options = every_option()
    pairs = [(images[place % len(images)], one) for place, one in enumerate(options)]
    alone = [classifier.classify(image, one) for image, one in pairs]
    encoded = classifier.encode([classifier.prepare(image, one) for image, one in pairs])
    assert rerank_votes(classifier.retrieve(encoded)) == alone
    for (_, one), result in zip(pairs, alone):
        labels = {candidate.label for candidate in result.candidates}
        assert labels <= set(one.labels or NAMES)
        assert labels
        if one.allow_unknown is False:
            assert result.label in labels


@pytest.mark.long
def test_scores_stay_those_among_all_labels(classifier, images):
    """So what is said of them by a calibration stays true; a set of labels that holds the true one is not given."""
    for image in images[::3]:
        whole = classifier.encode([classifier.prepare(image)])
        (full,) = (vote.unasked() for vote in classifier.retrieve(whole))
        scores = {candidate.label: candidate.score for candidate in full.candidates}
        for one in every_option():
            encoded = classifier.encode([classifier.prepare(image, one)])
            (result,) = (vote.unasked() for vote in classifier.retrieve(encoded))
            assert all(
                scores.get(candidate.label, candidate.score) == candidate.score for candidate in result.candidates
            )
            assert (result.similarity, result.familiarity) == (full.similarity, full.familiarity)
            assert result.prediction_set == (full.prediction_set if one.labels is None else None)
            if one.labels is None and one.allow_unknown in (None, True):
                assert result == full


def test_allow_unknown_is_that_of_the_configuration(place, images):
    """The same answers as with the setting."""
    made = []
    for allowed in (True, False):
        config = offline_config(place / "index", rerank__enabled=False, allow_unknown=allowed)
        config.retrieval.keep_known = 0.6
        with HybridClassifier(config, ColorEncoder()) as classifier:
            made.append([classifier.classify_many(images, AnswerOptions(allow_unknown=one)) for one in (True, False)])
            assert classifier.classify_many(images) == made[-1][0 if allowed else 1]
    assert made[0] == made[1]
    assert any(result.is_unknown for result in made[0][0])
    assert not any(result.is_unknown for result in made[0][1])
    assert any(result.decision.reason == "forced" for result in made[0][1])


def test_labels_that_the_index_does_not_have(classifier, images):
    """The nearest names are told; an empty choice, or a text in its place, is refused."""
    with pytest.raises(NoSuchLabelError, match="'gren' not in the index.*Is 'green' meant, for 'gren'"):
        classifier.classify(images[0], AnswerOptions(["red", "gren"]))
    for labels in ([], "red"):
        with pytest.raises(ConfigError, match="labels: expected"):
            AnswerOptions(labels)


def test_a_result_holds_all_labels_and_its_vector_where_that_is_asked(classifier, place):
    """They change nothing else, are those of retrieval, and come the same from files, images and vectors."""
    paths = sorted((place / "new").rglob("*.png"))
    options = AnswerOptions(all_labels=True, vector=True)
    plain = list(classifier.classify_paths(paths))
    assert {(result.probabilities, result.vector is None) for result in plain} == {(None, True)}
    asked = list(classifier.classify_paths(paths, options=options))
    assert [replace(result, probabilities=None) for result in asked] == plain
    for result, same in zip(asked, classifier.classify_many(paths, options)):
        assert sorted(result.probabilities) == NAMES
        assert list(result.probabilities.values()) == sorted(result.probabilities.values(), reverse=True)
        assert sum(result.probabilities.values()) == pytest.approx(1)
        for candidate in result.candidates:
            assert result.probabilities[candidate.label] == candidate.score
        assert result.to_dict()["probabilities"].keys() == result.probabilities.keys()
        assert result.vector.dtype == np.float32
        assert (result.vector == same.vector).all()
    vectors = np.stack([result.vector for result in asked])
    again = classifier.classify_vectors(vectors, options)
    assert [result.probabilities for result in again] == [result.probabilities for result in asked]
    assert (np.stack([result.vector for result in again]) == vectors).all()


def test_files_are_answered_by_their_options(classifier, place):
    """An unknown label is refused at once, before a file is read."""
    paths = sorted((place / "new").rglob("*.png"))
    only = classifier.classify_paths(paths, options=AnswerOptions(labels=["red"], allow_unknown=False))
    assert {result.label for result in only} == {"red"}
    with pytest.raises(NoSuchLabelError):
        classifier.classify_paths(paths, options=AnswerOptions(labels=["mauve"]))
