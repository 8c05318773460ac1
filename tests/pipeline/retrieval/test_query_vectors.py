"""Vectors of images are known, or encoded for the images that an encoder is asked about."""

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.errors import EncoderError, UnreadableImageError
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.testing import random_embeddings
from tests.helpers.encoders import ColorEncoder, LayoutEncoder

IMAGES = [Image.effect_noise((20 + number, 20), 90).convert("RGB") for number in range(6)]


def test_given_vectors_are_returned_by_row():
    """Of each encoder; one that was not given is an error."""
    first, second = random_embeddings(np.random.default_rng(0), 6, 4), random_embeddings(np.random.default_rng(1), 6, 8)
    vectors = QueryVectors.given(first, second)
    assert len(vectors) == 6
    found, rows = vectors.of(1, np.array([4, 2]))
    np.testing.assert_array_equal(found, second[[4, 2]])
    assert rows.tolist() == [4, 2]
    part = vectors.part(slice(4, 9))
    assert len(part) == 2
    np.testing.assert_array_equal(part.of(0, np.array([0, 1]))[0], first[4:])
    with pytest.raises(ValueError, match=r"expected the vectors of encoder 2, got those of \[0, 1\]"):
        vectors.of(2, np.array([0]))


def test_images_are_encoded_when_an_encoder_is_asked():
    """The first ones at once; a later one for the images that it is asked about, also in a part."""
    color, layout = ColorEncoder(), LayoutEncoder()
    vectors = QueryVectors.of_images([color, layout], IMAGES, first=[0])
    assert (color.encoded, layout.preprocessed) == (6, 0)
    np.testing.assert_array_equal(vectors.of(0, np.arange(6))[0], encode_images(ColorEncoder(), IMAGES))
    expected = encode_images(LayoutEncoder(), IMAGES)
    np.testing.assert_array_equal(vectors.of(1, np.array([1, 5]))[0], expected[[1, 5]])
    np.testing.assert_array_equal(vectors.part(slice(3, 6)).of(1, np.array([1, 2]))[0], expected[[4, 5]])
    assert (color.encoded, layout.encoded, layout.preprocessed) == (6, 4, 4)
    nothing, rows = vectors.of(1, np.array([], np.int64))
    assert (nothing.shape, rows.shape, layout.encoded) == ((0, 36), (0,), 4)


def test_a_part_of_a_part_is_of_the_same_images():
    """Its vectors are those of its own images, whether they were there before or not."""
    vectors = QueryVectors.of_images([ColorEncoder(), LayoutEncoder()], IMAGES, first=[0])
    part = vectors.part(slice(1, 6)).part(slice(1, 3))
    for place, encoder in enumerate([ColorEncoder(), LayoutEncoder()]):
        found, rows = part.of(place, np.arange(2))
        assert rows.tolist() == [0, 1]
        np.testing.assert_array_equal(found, encode_images(encoder, IMAGES[2:4]))


def test_an_image_that_a_later_encoder_refuses_is_left_out(caplog):
    """So it keeps the answer of the encoders before. The log names the encoder."""
    layout = LayoutEncoder(refused=[(21, 20), (24, 20)])
    vectors = QueryVectors.of_images([ColorEncoder(), layout], IMAGES, first=[0])
    found, rows = vectors.of(1, np.array([0, 1, 2, 4]))
    assert rows.tolist() == [0, 2]
    np.testing.assert_array_equal(found, encode_images(LayoutEncoder(), [IMAGES[0], IMAGES[2]]))
    assert caplog.text.count("An image cannot be encoded by thumbnail: thumbnail refuses this image") == 2


def test_a_later_encoder_may_refuse_all_that_it_is_asked_about(caplog):
    """As when it is asked about each of them alone; the run does not end."""
    layout = LayoutEncoder(refused=[(21, 20), (24, 20)])
    vectors = QueryVectors.of_images([ColorEncoder(), layout], IMAGES, first=[0])
    found, rows = vectors.of(1, np.array([1, 4]))
    assert (found.shape, rows.tolist()) == ((0, 36), [])
    assert caplog.text.count("An image cannot be encoded by thumbnail: thumbnail refuses this image") == 2


def test_an_image_that_a_first_encoder_refuses_is_an_error():
    """There is no answer before."""
    with pytest.raises(EncoderError, match="boxes refuses this image"):
        QueryVectors.of_images([ColorEncoder(refused=[(21, 20)])], IMAGES, first=[0])


def test_images_that_a_first_encoder_refuses_are_told_apart():
    """The others are encoded by all of the first ones, and by the later ones when these are asked."""
    color, layout = ColorEncoder(refused=[(21, 20)]), LayoutEncoder(refused=[(24, 20)])
    encoders = [color, layout, LayoutEncoder()]

    def load(row, place):
        return encoders[place].preprocess(IMAGES[row])

    vectors, refused = QueryVectors.of_inputs(encoders, len(IMAGES), load, first=[0, 1])
    assert {row: str(error).split()[0] for row, error in refused.items()} == {1: "boxes", 4: "thumbnail"}
    accepted = [IMAGES[row] for row in (0, 2, 3, 5)]
    assert len(vectors) == 4
    for place, encoder in enumerate([ColorEncoder(), LayoutEncoder(), LayoutEncoder()]):
        np.testing.assert_array_equal(vectors.of(place, np.arange(4))[0], encode_images(encoder, accepted))
    nothing, refused = QueryVectors.of_inputs(encoders, 1, lambda _, place: load(1, place), first=[0])
    assert (len(nothing), list(refused)) == (0, [0])


def test_a_file_that_cannot_be_read_again_is_left_out(caplog):
    """And one whose preprocessing fails."""

    def load(row, _):
        if row == 3:
            raise UnreadableImageError("moved away")
        if row == 4:
            raise EncoderError("no such size")
        return color.preprocess(IMAGES[row])

    color = ColorEncoder()
    vectors = QueryVectors(6, {}, [color], load)
    assert vectors.of(0, np.arange(6))[1].tolist() == [0, 1, 2, 5]
    assert "moved away" in caplog.text
    assert "no such size" in caplog.text
    assert vectors.of(0, np.array([3]))[0].shape == (0, 64)


def test_vectors_of_some_images_are_given_for_these():
    """The others have none; a part of the images keeps their rows."""
    given = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    vectors = QueryVectors(8, {0: np.zeros((8, 2), np.float32)}, partly={1: (np.array([1, 4, 6]), given)})
    found, rows = vectors.of(1, np.array([0, 1, 6, 7]))
    assert rows.tolist() == [1, 6]
    assert np.array_equal(found, given[[0, 2]])
    found, rows = vectors.part(slice(4, 7)).of(1, np.arange(3))
    assert rows.tolist() == [0, 2]
    assert np.array_equal(found, given[1:])
    assert vectors.part(slice(2, 4)).of(1, np.arange(2))[1].tolist() == []
