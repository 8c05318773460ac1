"""An encoder of given vectors has a fingerprint and takes no image."""

import pytest
from PIL import Image

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.given import GivenVectors, given_fingerprint
from lmm_classifier.embeddings.opening import open_encoders
from lmm_classifier.embeddings.registry import open_encoder


def test_the_name_tells_vectors_apart():
    """Vectors of another name or size are never compared."""
    fingerprint = given_fingerprint("clip@1", 8)
    assert fingerprint.name == "clip@1"
    assert not fingerprint.differences(given_fingerprint("clip@1", 8))
    assert fingerprint.differences(given_fingerprint("clip@2", 8)) == ["model"]
    assert fingerprint.space_id != given_fingerprint("clip@2", 8).space_id
    assert fingerprint.differences(given_fingerprint("clip@1", 9)) == ["dim"]


def test_it_refuses_images():
    """It is an encoder, and says what to do instead of encoding."""
    encoder = GivenVectors(given_fingerprint("clip@1", 8))
    (opened,) = open_encoders([], encoder)
    assert isinstance(opened, Encoder)
    for use in (lambda: encoder.preprocess(Image.new("RGB", (4, 4))), lambda: encoder.encode([])):
        with pytest.raises(ConfigError, match=r"no encoder for images. Give vectors, or configure the encoder"):
            use()


def test_the_backend_opens_no_encoder():
    """Where an image must be encoded, the setting says that none can be."""
    with pytest.raises(ConfigError, match=r"encoder.backend is vectors: vectors are given"):
        open_encoder(EncoderConfig(backend="vectors"))
