"""Checks and example data for people who write an encoder, an index or a reranker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.core.protocols import Encoder

_SIZES = ((80, 80), (64, 48), (48, 64), (37, 91), (300, 200), (1, 1), (1, 300), (300, 1), (2, 2000), (80, 80))


def random_embeddings(rng: np.random.Generator, n: int, dim: int) -> Float32Array:
    """Draw n random normalized embeddings, (n, dim) float32."""
    return _normalize(rng.normal(size=(n, dim)))


def clustered_embeddings(
    rng: np.random.Generator, labels: Sequence[str], dim: int, spread: float = 0.5
) -> Float32Array:
    """Draw one normalized embedding per label name, close to a random direction of that label, (n, dim) float32."""
    names = sorted(set(labels))
    centers = random_embeddings(rng, len(names), dim)
    noise = random_embeddings(rng, len(labels), dim)
    return _normalize(centers[[names.index(label) for label in labels]] + spread * noise)


def example_fingerprint(dim: int, revision: str = "1") -> Fingerprint:
    """Return the fingerprint of an encoder that stands for embeddings made by hand."""
    return Fingerprint("given", "vectors", revision, "none", dim, "float32")


def check_encoder(encoder: Encoder) -> None:
    """Check that an encoder does what the protocol `Encoder` asks for, on ten random images of many sizes.

    It checks the properties, the shape, type and norm of the embeddings, that a row has the same bits in any batch,
    that no image gives no row, and that the images stay unchanged.

    Raises:
        AssertionError: the encoder breaks a rule; the message says which.

    Example:
        >>> from lmm_classifier.embeddings.descriptor import DescriptorEncoder
        >>> from lmm_classifier.testing import check_encoder
        >>> check_encoder(DescriptorEncoder())
    """
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (high, wide, 3), np.uint8)) for wide, high in _SIZES]
    pixels = [image.tobytes() for image in images]
    dim = encoder.fingerprint.dim
    _expect(encoder.image_size >= 1, f"`image_size` is {encoder.image_size}, expected at least 1")
    _expect(encoder.batch_size >= 1, f"`batch_size` is {encoder.batch_size}, expected at least 1")
    rows = encoder.encode([encoder.preprocess(image) for image in images])
    _expect([image.tobytes() for image in images] == pixels, "`preprocess` changes the image")
    _check_rows(rows, len(images), dim)
    _check_rows(encoder.encode([]), 0, dim)
    _expect(np.unique(rows, axis=0).shape[0] > 1, "all images have the same embedding")
    _check_batches(encoder, images, rows)
    _check_rows(encoder.transform_fitter.fit(lambda: iter([rows])).transform(rows), len(images))


def _check_rows(rows: Float32Array, count: int, dim: int | None = None) -> None:
    expected = (count, rows.shape[-1] if dim is None else dim)
    _expect(rows.shape == expected, f"embeddings have the shape {rows.shape}, expected {expected}")
    _expect(rows.dtype == np.float32, f"embeddings are {rows.dtype}, expected float32")
    norms = np.linalg.norm(rows, axis=1)
    _expect(bool((np.abs(norms - 1) < 1e-4).all()), f"embeddings have norms {norms}, expected 1")


def _check_batches(encoder: Encoder, images: Sequence[Image.Image], rows: Float32Array) -> None:
    for size in (1, 3, 7):
        order = np.random.default_rng(size).permutation(len(images))
        for start in range(0, len(images), size):
            positions = order[start : start + size]
            part = encoder.encode([encoder.preprocess(images[position]) for position in positions])
            _expect(np.array_equal(part, rows[positions]), f"an embedding differs in a batch of {size} images")


def _expect(condition: bool, problem: str) -> None:
    if not condition:
        raise AssertionError(problem)


def _normalize(rows: NDArray[Any]) -> Float32Array:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / norms, np.float32)
