"""Encode images that are in memory."""

from __future__ import annotations

from collections.abc import Sequence

from PIL.Image import Image

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.protocols import Encoder


def encode_images(encoder: Encoder, images: Sequence[Image]) -> Float32Array:
    """Preprocess and encode upright RGB images.

    Args:
        encoder: any encoder.
        images: n images, upright and in mode RGB (see `data.images.upright_rgb`).

    Returns:
        Normalized embeddings (n, dim) in float32.
    """
    return encoder.encode([encoder.preprocess(image) for image in images])
