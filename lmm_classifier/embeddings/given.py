"""The encoder of vectors that are given: it stands for the one that made them, and takes no image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from PIL import Image

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.core.protocols import Preprocessed, TransformFitter
from lmm_classifier.embeddings.whitening import IdentityFitter

BACKEND = "vectors"  # in fingerprints, and as `encoder.backend`


def given_fingerprint(name: str, dim: int) -> Fingerprint:
    """Return the fingerprint of vectors (n, dim) that are known by a name only."""
    return Fingerprint(BACKEND, name, "", "unknown preprocessing", dim, "float32", "unknown colors")


def no_encoder() -> NoReturn:
    """Raise ConfigError: there is no encoder for images."""
    raise ConfigError(
        "encoder.backend is vectors: vectors are given, and there is no encoder for images. Give vectors, or configure "
        "the encoder that made those of the index."
    )


class GivenVectors:
    """Stands for an encoder whose vectors are given. It has its fingerprint, and refuses images."""

    image_size = 1
    batch_size = 1

    def __init__(self, fingerprint: Fingerprint, transform_fitter: TransformFitter | None = None) -> None:
        self.fingerprint = fingerprint
        self.transform_fitter: TransformFitter = transform_fitter or IdentityFitter()

    def preprocess(self, image: Image.Image) -> NoReturn:  # noqa: ARG002
        """Raise ConfigError."""
        no_encoder()

    def encode(self, preprocessed: Sequence[Preprocessed]) -> Float32Array:  # noqa: ARG002
        """Raise ConfigError."""
        no_encoder()
