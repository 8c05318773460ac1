"""What retrieval says about images: answers of stages, similarities of one encoder, and the supporting examples."""

import numpy as np
import pytest
from scipy.special import log_softmax

from lmm_classifier.calibration.fusion.cascade import Stage
from lmm_classifier.calibration.fusion.encoder_fusion import EncoderFusion
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.pipeline.retrieval.encoder_retriever import EncoderScores
from lmm_classifier.pipeline.retrieval.retrieval_scores import RetrievalScores, ScoresOfEncoder
from lmm_classifier.testing import random_embeddings

LABEL_IDS = np.array([0, 0, 0, 0, 1, 2, 2])
ROWS_OF = [np.arange(4), np.array([4]), np.array([5, 6])]
FUSION = EncoderFusion(np.array([0.75, 0.5]), 1.0, 2.0)


def part(seed, rows):
    """What an encoder says about these rows of the images: its own vectors of the examples and of the images."""
    rng = np.random.default_rng(seed)
    gallery = Gallery(random_embeddings(rng, len(LABEL_IDS), 5), LABEL_IDS, 3)
    queries, logs, familiarity = (
        random_embeddings(rng, 4, 5),
        log_softmax(rng.normal(size=(4, 3)), axis=1),
        [0, 1, 2, 3],
    )
    similarities = gallery.compare(queries[rows], [])
    nearest = similarities.nearest_each(1)[1][:, 0]
    return ScoresOfEncoder(
        np.array(rows), EncoderScores(logs[rows], np.array(familiarity, float)[rows] * seed, nearest, similarities)
    )


@pytest.fixture
def scored():
    """Four images: encoder 0 answers all, and encoder 1 is asked about two more of them."""
    scored = RetrievalScores.empty(4, 3, 0)
    scored.parts[0], scored.parts[1] = part(1, [0, 1, 2, 3]), part(2, [1, 3])
    scored.put(0, Stage((0,), EncoderFusion(np.ones(1)), 0.5), [scored.parts[0]], np.arange(4))
    scored.put(1, Stage((0, 1), FUSION), [scored.parts[0], scored.parts[1]], np.array([1, 3]))
    return scored


def test_an_image_without_an_answer_is_unfamiliar_and_has_no_label():
    """As unfamiliar as where no example is left to compare with: -4."""
    empty = RetrievalScores.empty(2, 3, 1)
    np.testing.assert_array_equal(empty.probabilities, np.zeros((2, 3)))
    assert empty.familiarity.tolist() == [-4.0, -4.0]
    assert empty.stage.tolist() == [0, 0]
    assert (empty.strongest == 1).all()
    assert (empty.similarity_encoder, empty.parts) == (1, {})


def test_a_stage_answers_only_its_own_images(scored):
    """The others keep the answer before: label, familiarity, and the encoder that supports it."""
    first, second = scored.parts[0].scores, scored.parts[1].scores
    assert scored.stage.tolist() == [0, 1, 0, 1]
    np.testing.assert_array_equal(scored.log_probabilities[[0, 2]], first.log_probabilities[[0, 2]])
    logs = [first.log_probabilities[[1, 3]], second.log_probabilities]
    fused = FUSION.log_probabilities(logs)
    np.testing.assert_array_equal(scored.log_probabilities[[1, 3]], fused)
    np.testing.assert_allclose(scored.probabilities.sum(axis=1), 1)
    assert scored.familiarity[[0, 2]].tolist() == [0.0, 2.0]
    expected = FUSION.familiarity([np.array([1.0, 3.0]), np.array([2.0, 6.0])], fused)
    np.testing.assert_array_equal(scored.familiarity[[1, 3]], expected)
    assert (scored.strongest[[0, 2]] == 0).all()
    np.testing.assert_array_equal(scored.strongest[[1, 3]], FUSION.strongest(logs))


def test_encoders_are_named_by_their_places():
    """Not by their order in the stage; a stage without images changes nothing."""
    scored, parts = RetrievalScores.empty(4, 3, 2), [part(1, [0, 1]), part(2, [0, 1])]
    scored.put(1, Stage((2, 0), FUSION), parts, np.array([], np.int64))
    assert np.isneginf(scored.log_probabilities).all()
    scored.put(1, Stage((2, 0), FUSION), parts, np.arange(2))
    places = FUSION.strongest([each.scores.log_probabilities for each in parts])
    np.testing.assert_array_equal(scored.strongest[:2], np.array([2, 0])[places])
    assert set(places.ravel()) == {0, 1}


def test_the_nearest_similarity_is_of_one_encoder(scored):
    """An image that it was not asked about has none."""
    np.testing.assert_array_equal(scored.nearest, scored.parts[0].scores.nearest)
    scored.similarity_encoder = 1
    nearest = scored.parts[1].scores.nearest
    assert scored.nearest.tolist() == [-np.inf, nearest[0], -np.inf, nearest[1]]


@pytest.mark.parametrize("k", [1, 3, 5])
def test_supporting_examples_are_the_nearest_of_the_label(scored, k):
    """By the encoder that supports the label most; row -1 with cosine -inf stands where a label has fewer."""
    scored.strongest[1], scored.strongest[3] = [0, 1, 1], [1, 0, 1]
    pairs = [(query, label) for query in range(4) for label in range(3)]
    rows, cosines = scored.nearest_among(pairs, ROWS_OF, k)
    assert rows.shape == cosines.shape == (12, k)
    for (query, label), found, similar in zip(pairs, rows, cosines):
        encoder = int(scored.strongest[query, label])
        place = [0, 1, 2, 3].index(query) if encoder == 0 else [1, 3].index(query)
        expected = scored.parts[encoder].scores.similarities.nearest(place, k, ROWS_OF[label])
        count = min(k, len(ROWS_OF[label]))
        np.testing.assert_array_equal(found[:count], expected[0])
        np.testing.assert_array_equal(similar[:count], expected[1])
        assert (found[count:] == -1).all()
        assert np.isneginf(similar[count:]).all()
        alone = scored.nearest_of_label(query, label, ROWS_OF[label], k)
        np.testing.assert_array_equal(alone[0], expected[0])
        np.testing.assert_array_equal(alone[1], expected[1])
        assert alone[2] == encoder


def test_supporting_examples_of_one_label_or_none(scored):
    """Of a single image and label, also where more are wanted than there are pairs."""
    rows, cosines = scored.nearest_among([(2, 0)], ROWS_OF, 3)
    assert rows.shape == (1, 3)
    assert (np.diff(cosines[0]) <= 0).all()
    assert set(rows[0]) <= set(ROWS_OF[0])
    assert scored.nearest_among([], ROWS_OF, 3)[0].shape == (0, 3)
