"""The drawn shapes: a trained checkpoint of the tests depends on their pixels."""

import hashlib

import numpy as np
import pytest

from lmm_classifier.data.synthetic.shapes import SHAPES, draw_labeled, draw_shape


def test_the_pixels_do_not_change():
    """The tiny Qwen2-VL was trained on these pixels."""
    pixels = b"".join(image.tobytes() for _, image in draw_labeled(2, seed=0))
    assert hashlib.sha256(pixels).hexdigest()[:16] == "f5fbd5162b191026"


def test_labels_come_in_turn():
    """Each round draws every shape once."""
    assert [label for label, _ in draw_labeled(2, seed=0)] == [*SHAPES, *SHAPES]


@pytest.mark.parametrize("label", SHAPES)
def test_every_shape_is_visible(label):
    """An image is RGB, has the wanted size, and shows contrast."""
    image = draw_shape(label, np.random.default_rng(1), size=64)
    assert (image.mode, image.size) == ("RGB", (64, 64))
    assert np.asarray(image, float).std() > 5


def test_an_unknown_shape_is_refused():
    """The error names the shapes that exist."""
    with pytest.raises(ValueError, match="expected one of hstripes"):
        draw_shape("star", np.random.default_rng(0))
