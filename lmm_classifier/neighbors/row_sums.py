"""Sums over labeled rows that were made in one pass, and the scatter within labels that they give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.core.linalg import single_threaded_blas
from lmm_classifier.neighbors.metric import WithinClassScatter

_ROUNDING = 1e-14  # of the sum of all squares: what is smaller is no variance, but the rounding of the sums


@dataclass(frozen=True)
class RowSums:
    """Sums over rows in one form: as they are, or as signed square roots. l labels, d numbers in a row."""

    sums: Float64Array  # (l, d) of each label
    products: Float64Array  # (d, d), the sum of x x'


@single_threaded_blas
def scatter_of_sums(counts: IntArray, sums: RowSums, power_normalize: bool) -> WithinClassScatter:
    """Return the pooled scatter within labels, as `fit_scatter` measures it in two passes.

    Args:
        counts: rows of each label, (C,).
        sums: of all C labels.
        power_normalize: whether they are those of square roots.
    """
    count = int(counts.sum())
    freedom = max(count - int((counts > 0).sum()), 1)
    means = sums.sums / np.maximum(counts, 1)[:, None]
    center = (sums.sums.sum(axis=0) / max(count, 1)).astype(np.float32)
    weighted = means * np.sqrt(counts)[:, None]
    squares, axes = np.linalg.eigh(sums.products - weighted.T @ weighted)
    squares[squares < _ROUNDING * np.trace(sums.products)] = 0
    return WithinClassScatter(power_normalize, center, axes, squares / freedom, freedom, means)
