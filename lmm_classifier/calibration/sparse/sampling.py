"""Which examples are left out where answers come from a shortlist: as many whatever the size of the dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import IntArray

MOST_ROWS = 20_000
_MAX_COMPARISONS = 1_000_000_000  # examples times labels: some minutes
_LEAST = 2000


@dataclass(frozen=True)
class LowestContents:
    """Hold out at most so many examples, those with the lowest hashes of their contents, as through a store.

    The metric is chosen by examples with the lowest hashes as well. So calibrations with and without a store differ
    only in the comparison.
    """

    most: int


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


def without_copies(contents: Sequence[str], label_ids: IntArray, sample: IntArray) -> IntArray:
    """Return the rows of a sample whose content their label holds only once; all where fewer than half are left.

    Examples:
        >>> import numpy as np
        >>> from lmm_classifier.calibration.sparse.sampling import without_copies
        >>> without_copies(["a", "a", "b", "c"], np.array([0, 0, 0, 1]), np.array([1, 2, 3])).tolist()
        [2, 3]
    """
    copies = Counter(zip(contents, label_ids.tolist()))
    alone = [row for row in sample.tolist() if copies[contents[row], int(label_ids[row])] == 1]
    return np.array(alone, np.int64) if 2 * len(alone) >= len(sample) else sample
