"""Near duplicates by their vectors alone: pairs of nearest rows, and the cosine from which a pair is no chance."""

from __future__ import annotations

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.progress import Progress, ProgressCallback
from lmm_classifier.core.tail import tail_threshold

FALSE_PAIRS = 1 / 1000  # expected pairs, per row, that count as near duplicates by chance
_QUANTILES = (0.5, 0.9)  # so many rows may have a copy before the limit rises
_NEVER = 0.99999  # rounding keeps the cosine of equal vectors below 1
_HELD = 1 << 24  # similarities in memory at a time: 67 MB


def nearest_pairs(
    rows: Float32Array,
    others: Float32Array | None = None,
    count: int = 3,
    progress: ProgressCallback | None = None,
) -> tuple[IntArray, Float64Array]:
    """Return pairs (m, 2) of each row with its `count` most similar ones, and their cosines (m,).

    Args:
        rows: normalized embeddings (n, d).
        others: normalized embeddings (k, d) to compare with. None: the rows with each other, each pair once.
        count: partners of each row.
        progress: called between two blocks of rows.
    """
    among = rows if others is None else others
    most = min(count, len(among) - (others is None))
    if most < 1 or not len(rows):
        return np.empty((0, 2), np.int64), np.empty(0)
    pairs, cosines = [], []
    step = max(_HELD // len(among), 1)
    for start in range(0, len(rows), step):
        similarities = rows[start : start + step] @ among.T
        numbers = np.arange(len(similarities))
        if others is None:
            similarities[numbers, start + numbers] = -np.inf  # a row is no partner of itself
        best = np.argpartition(-similarities, most - 1, axis=1)[:, :most]
        pairs.append(np.stack([np.repeat(start + numbers, most), best.ravel()], axis=1))
        cosines.append(np.take_along_axis(similarities, best, axis=1).ravel().astype(np.float64))
        if progress is not None:
            progress(Progress("comparing vectors", start + len(similarities), len(rows)))
    joined, values = np.concatenate(pairs).astype(np.int64), np.concatenate(cosines)
    if others is None:
        joined, first = np.unique(np.sort(joined, axis=1), axis=0, return_index=True)
        values = values[first]
    return joined, values


def duplicate_cosine(pairs: IntArray, cosines: Float64Array) -> float:
    """Return the cosine from which pairs (m, 2) of one set of rows are near duplicates, at most 1.

    It follows from how similar rows usually are to their nearest one, so it depends on the encoder and on the dataset.
    Where there are too few rows to tell, only equal vectors count.
    """
    nearest = np.full(int(pairs.max(initial=-1)) + 1, -np.inf)
    for side in (0, 1):
        np.maximum.at(nearest, pairs[:, side], cosines)
    usual = np.arctanh(nearest[np.isfinite(nearest)].clip(-_NEVER, _NEVER))
    limit = tail_threshold(usual, FALSE_PAIRS, _QUANTILES)
    return _NEVER if limit is None else min(float(np.tanh(limit)), _NEVER)
