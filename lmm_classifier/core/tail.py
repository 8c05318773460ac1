"""Limits from the data: the agreement of two items that chance alone reaches as seldom as wanted."""

from __future__ import annotations

import numpy as np

from lmm_classifier.core.arrays import Float64Array, IntArray

_FEWEST = 50  # values that say something about a tail
_OUTER = (0.9, 0.99)  # quantiles between which the slope of the tail is measured
_NEVER = 0.9999


def tail_threshold(values: Float64Array, probability: float, quantiles: tuple[float, float] = _OUTER) -> float | None:
    """Return the value that is exceeded with `probability`, if the tail (n,) is exponential; None for too few values.

    Two `quantiles` give the slope, so that outliers above them do not matter.

    Example:
        >>> import numpy as np
        >>> from lmm_classifier.core.tail import tail_threshold
        >>> values = np.random.default_rng(0).exponential(size=10_000)
        >>> abs(tail_threshold(values, 0.001) - np.log(1000)) < 0.5
        True
    """
    if len(values) < _FEWEST:
        return None
    near, far = np.quantile(values, quantiles)
    inner, outer = (1 - quantile for quantile in quantiles)
    steps = np.log(inner / probability) / np.log(inner / outer)
    return float(near + (far - near) * max(float(steps), 0.0))


def chance_limit(pairs: IntArray, agreement: Float64Array, false_pairs: float) -> float | None:
    """Return the correlation from which pairs are no chance, -1 to 1; None where there are too few pairs.

    The best pair of each item may be a true one, so it tells nothing of chance. All others do.

    Args:
        pairs: (m, 2) items that were compared.
        agreement: (m,) correlation or cosine of each pair.
        false_pairs: expected number of pairs, per item, that reach the limit by chance.
    """
    items, positions = np.unique(pairs, return_inverse=True)
    positions = positions.reshape(pairs.shape)
    best = np.full(len(items), -np.inf)
    for side in (0, 1):
        np.maximum.at(best, positions[:, side], agreement)
    ordinary = agreement[(agreement < best[positions[:, 0]]) & (agreement < best[positions[:, 1]])]
    probability = false_pairs * len(items) / max(len(pairs), 1)
    limit = tail_threshold(np.arctanh(ordinary.clip(-_NEVER, _NEVER)), probability)
    return None if limit is None else float(np.tanh(limit))
