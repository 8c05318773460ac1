"""Which examples are left out where answers come from a shortlist: as many whatever the size of the dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmm_classifier.core.arrays import IntArray

MOST_ROWS = 20_000
_MAX_COMPARISONS = 1_000_000_000  # examples times labels: some minutes
_LEAST = 2000


def rows_through_shortlist(labels: int) -> int:
    """Return how many examples to leave out of a dataset with so many labels; their number does not count.

    Examples:
        >>> from lmm_classifier.calibration.sparse.sampling import rows_through_shortlist
        >>> rows_through_shortlist(1000), rows_through_shortlist(100_000)
        (20000, 10000)
    """
    return min(MOST_ROWS, max(_MAX_COMPARISONS // max(labels, 1), _LEAST))


def lowest_contents(contents: Sequence[str], most: int) -> IntArray:
    """Return at most `most` rows, ascending: those with the lowest hashes of their contents, equal ones by row.

    That is a uniform sample, which does not depend on the order of the rows, and hardly changes when some are added.

    Examples:
        >>> from lmm_classifier.calibration.sparse.sampling import lowest_contents
        >>> lowest_contents(["c", "a", "d", "b"], 2).tolist()
        [1, 3]
    """
    if len(contents) <= most:
        return np.arange(len(contents))
    order = np.argsort(np.array(contents, np.str_), kind="stable")
    return np.sort(order[:most])
