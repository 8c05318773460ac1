"""Random vectors of SigLIP's size, and indexes of them in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.embeddings.whitening import IdentityFitter
from lmm_classifier.index.contents import EncoderVectors, IndexContents
from lmm_classifier.index.manifest import EncoderEntry, Manifest

DIM = 1152
FINGERPRINT = Fingerprint("given", "vectors", "1", "none", DIM, "float32")
_BLOCK = 8192


def random_vectors(count: int, queries: int = 256, seed: int = 0) -> tuple[Float32Array, Float32Array]:
    """Return normalized embeddings (count, DIM) around one center per 200 rows, and queries like them.

    The cosine around one center is about 0.5.
    """
    rng = np.random.default_rng(seed)
    centers = (rng.normal(size=(max(count // 200, 1), DIM)) / DIM**0.5).astype(np.float32)

    def draw(number: int) -> Float32Array:
        rows = rng.normal(size=(number, DIM)).astype(np.float32) / np.float32(DIM**0.5)
        rows += centers[rng.integers(0, len(centers), number)]
        return normalized(rows)

    embeddings = np.empty((count, DIM), np.float32)
    for start in range(0, count, _BLOCK):
        embeddings[start : start + _BLOCK] = draw(min(_BLOCK, count - start))
    return embeddings, draw(queries)


def normalized(rows: Float32Array) -> Float32Array:
    """Return rows (n, d) of norm 1."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def contents_of(embeddings: Float32Array, labels: Sequence[str]) -> IndexContents:
    """Return index contents of vectors (count, DIM) and their labels."""
    return IndexContents(
        Manifest((EncoderEntry(FINGERPRINT, "identity"),), len(labels), "dataset", "2026-01-01", "0"),
        labels,
        [f"{label}/{row}.jpg" for row, label in enumerate(labels)],
        [f"{row:064x}" for row in range(len(labels))],
        (EncoderVectors({}, lambda: [embeddings]),),
    )


class NoEncoder:
    """The properties of an encoder whose vectors are given."""

    fingerprint = FINGERPRINT
    transform_fitter = IdentityFitter()
    image_size = 224
    batch_size = 64
