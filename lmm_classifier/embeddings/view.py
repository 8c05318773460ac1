"""An encoder on a part of every image: what is in its center is seen larger."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from PIL.Image import Image

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.core.protocols import Encoder, Preprocessed, TransformFitter

_CENTER = re.compile(r"center (0?\.\d+)")


def center_fraction(view: str) -> float:
    """Return the fraction of the sides of an image that a view such as `center 0.5` shows.

    Raises:
        ConfigError: the text is no view.
    """
    match = _CENTER.fullmatch(view)
    fraction = float(f"{float(match.group(1)):g}") if match else 0.0  # as a fingerprint shows it
    if not 0.05 <= fraction < 1:
        raise ConfigError(f"expected `center` and a fraction of 0.05 to less than 1, such as center 0.5, got {view!r}")
    return fraction


class CenterView:
    """An encoder that sees only the center of each image.

    It has vectors and a fingerprint of its own, so it can stand next to the same encoder on whole images. Give it the
    center of dataset and query images alike.

    Args:
        encoder: any encoder.
        view: `center` and the fraction of width and height that is seen, such as `center 0.5`.

    Example:
        >>> from lmm_classifier.embeddings import CenterView
        >>> from lmm_classifier.embeddings.descriptor import DescriptorEncoder
        >>> CenterView(DescriptorEncoder(), "center 0.5").fingerprint.view
        'center 0.5'
    """

    def __init__(self, encoder: Encoder, view: str) -> None:
        self.encoder: Encoder = encoder
        self._fraction = center_fraction(view)
        self.fingerprint: Fingerprint = replace(encoder.fingerprint, view=f"center {self._fraction:g}")

    @property
    def transform_fitter(self) -> TransformFitter:
        """Return that of the encoder."""
        return self.encoder.transform_fitter

    @property
    def image_size(self) -> int:
        """Return the side of the whole image at which the center has the size that the encoder uses."""
        return round(self.encoder.image_size / self._fraction)

    @property
    def batch_size(self) -> int:
        """Return that of the encoder."""
        return self.encoder.batch_size

    def preprocess(self, image: Image) -> Preprocessed:
        """Preprocess the center of an upright RGB image."""
        width, height = (max(round(side * self._fraction), 1) for side in image.size)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return self.encoder.preprocess(image.crop((left, top, left + width, top + height)))

    def encode(self, preprocessed: Sequence[Preprocessed]) -> Float32Array:
        """Return normalized embeddings (n, dim) in float32."""
        return self.encoder.encode(preprocessed)
