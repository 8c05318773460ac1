"""The rows with the largest cosine, on one thread and in bounded memory."""

from __future__ import annotations

import numpy as np

from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.linalg import single_threaded_blas
from lmm_classifier.core.progress import Progress, ProgressCallback

_AT_ONCE = 4_000_000  # similarities: 16 MB, and 32 MB for their order


def nearest_others(rows: Float32Array, k: int, progress: ProgressCallback | None = None) -> IntArray:
    """Return for each of n unit rows (n, d) its k nearest others (n, k), in no order; fewer where n is small.

    Args:
        rows: unit vectors.
        k: neighbors of each.
        progress: called after each block.
    """
    count = len(rows)
    found = np.empty((count, min(k, max(count - 1, 0))), np.int64)
    step = max(_AT_ONCE // max(count, 1), 1)
    for start in range(0, count, step):
        block = np.arange(start, min(start + step, count))
        similarities = _products(rows[block], rows)
        similarities[block - start, block] = -np.inf
        found[block] = _largest(similarities, found.shape[1])
        if progress is not None:
            progress(Progress("neighbors", int(block[-1]) + 1, count))
    return found


def nearest_of(queries: Float32Array, rows: Float32Array, k: int) -> IntArray:
    """Return for each of m unit queries (m, d) the k nearest of n unit rows (n, d) as (m, k), in no order."""
    found = np.empty((len(queries), min(k, len(rows))), np.int64)
    step = max(_AT_ONCE // max(len(rows), 1), 1)
    for start in range(0, len(queries), step):
        found[start : start + step] = _largest(_products(queries[start : start + step], rows), found.shape[1])
    return found


@single_threaded_blas
def _products(queries: Float32Array, rows: Float32Array) -> Float32Array:
    return np.asarray(queries @ rows.T)


def _largest(similarities: Float32Array, k: int) -> IntArray:
    """Return the columns (b, k) of the k largest of each row (b, n)."""
    if k >= similarities.shape[1]:
        return np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    return (
        np.argpartition(similarities, -k, axis=1)[:, similarities.shape[1] - k :]
        if k
        else np.empty((len(similarities), 0), np.int64)
    )
