"""The rows of a large table, drawn: labels of 200 rows, in each the cosine is 0.71 on average.

The spectrum within a label falls as a power. The same rows are drawn each time, chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lmm_classifier.core.arrays import Float32Array, IntArray

DIM, PER_LABEL, QUERIES = 1152, 200, 256
_CHUNK = 4096
_WITHIN = 0.71  # cosine of two rows of a label


def spectrum() -> Float32Array:
    """Return the standard deviation of each number within a label."""
    values = np.arange(1, DIM + 1) ** -0.5
    return np.asarray(values / np.linalg.norm(values), np.float32)


def drawn(rng: np.random.Generator, centers: Float32Array, labels: IntArray) -> Float32Array:
    """Return normalized rows (n, DIM) of these labels."""
    noise = rng.normal(size=(len(labels), DIM)).astype(np.float32) * spectrum()
    rows = _WITHIN**0.5 * centers[labels] + (1 - _WITHIN) ** 0.5 * noise
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def centers_of(rows: int) -> Float32Array:
    """Return the center of each label."""
    centers = np.random.default_rng(0).normal(size=(rows // PER_LABEL, DIM))
    return np.asarray(centers / np.linalg.norm(centers, axis=1, keepdims=True), np.float32)


def chunks(rows: int) -> Iterator[tuple[int, IntArray, Float32Array]]:
    """Yield the number of the first row, the labels and the rows of each chunk, labels in any order."""
    centers = centers_of(rows)
    for start in range(0, rows, _CHUNK):
        rng = np.random.default_rng((1, start))
        labels = rng.integers(0, len(centers), min(_CHUNK, rows - start))
        yield start, labels, drawn(rng, centers, labels)


def queries_of(rows: int) -> Float32Array:
    """Return queries like the rows."""
    rng = np.random.default_rng(2)
    centers = centers_of(rows)
    return drawn(rng, centers, rng.integers(0, len(centers), QUERIES))


def contested_of(rows: int, count: int) -> Float32Array:
    """Return queries each of which lies between two labels, nearer to either."""
    rng = np.random.default_rng(4)
    centers = centers_of(rows)
    pairs = np.array([rng.choice(len(centers), 2, replace=False) for _ in range(count)])
    share = rng.uniform(0.2, 0.8, (count, 1)).astype(np.float32)
    between = share * centers[pairs[:, 0]] + (1 - share) * centers[pairs[:, 1]]
    between /= np.linalg.norm(between, axis=1, keepdims=True)
    return drawn(rng, np.asarray(between, np.float32), np.arange(count))
