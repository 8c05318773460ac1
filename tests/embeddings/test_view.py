"""A view shows an encoder the center of an image, and has vectors of its own."""

import doctest

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.embeddings import view
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.embeddings.view import CenterView, center_fraction
from lmm_classifier.testing import check_encoder
from tests.helpers.encoders import ColorEncoder


def test_it_is_an_encoder_of_the_center(tmp_path):
    """Its vector is that of the cropped image, whatever is around it."""
    encoder = ColorEncoder()
    center = Image.effect_noise((20, 10), 90).convert("RGB")
    for color in ("red", "blue"):
        whole = Image.new("RGB", (40, 20), color)
        whole.paste(center, (10, 5))
        seen = encode_images(CenterView(encoder, "center 0.5"), [whole])
        np.testing.assert_array_equal(seen, encode_images(encoder, [center]))
    check_encoder(CenterView(encoder, "center 0.3"))


def test_its_fingerprint_differs_by_the_view_alone():
    """So its vectors are never compared with those of whole images, nor of another view."""
    half, third = CenterView(ColorEncoder(), "center 0.5"), CenterView(ColorEncoder(), "center .30")
    spaces = {encoder.fingerprint.space_id for encoder in (ColorEncoder(), half, third)}
    assert len(spaces) == 3
    assert half.fingerprint.differences(ColorEncoder.fingerprint) == ["view"]
    assert third.fingerprint.view == "center 0.3"
    assert third.fingerprint.name == "boxes center 0.3"
    assert "center 0.5" in str(half.fingerprint)


def test_a_file_is_decoded_so_large_that_the_center_has_the_size_of_the_encoder():
    """A fast decoding at a reduced scale would blur it otherwise."""
    assert CenterView(ColorEncoder(), "center 0.5").image_size == 2 * ColorEncoder.image_size


NO_VIEWS = (
    *("", "center", "center 1", "center 1.0", "center 0.9999999", "center 0", "center 0.04", "center -0.5"),
    *("center nan", "left 0.5", "center 0.5 ", "Center 0.5", "center 50%"),
)


@pytest.mark.parametrize("text", NO_VIEWS)
def test_another_text_is_no_view(text):
    """The error says what one is, in the settings too."""
    with pytest.raises(ConfigError, match=r"such as center 0\.5, got"):
        center_fraction(text)
    with pytest.raises(ConfigError, match=r"view: expected `center` and a fraction"):
        PipelineConfig().set(f"encoder.view='{text}'")


@pytest.mark.parametrize("text", ["center 0.99999", "center 0.05", "center .5", "center 0.123456789"])
def test_a_view_that_is_accepted_can_be_opened(text):
    """The setting holds a text that is a view again."""
    config = PipelineConfig()
    config.set(f"encoder.view={text}")
    assert CenterView(ColorEncoder(), config.encoder.view).fingerprint.view == config.encoder.view
    assert PipelineConfig(**config.model_dump()).encoder.view == config.encoder.view


def test_a_tiny_image_has_a_center():
    """Of one pixel at least."""
    for size in ((1, 1), (1, 300), (300, 1), (2, 2)):
        assert encode_images(CenterView(ColorEncoder(), "center 0.1"), [Image.new("RGB", size)]).shape == (1, 64)


def test_the_example_runs():
    """As it is printed."""
    assert doctest.testmod(view).failed == 0
