"""What of a calibration is still of the examples there now."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.calibration.calibration import with_crowding
from lmm_classifier.index.staleness import Since
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.novelty import Density
from lmm_classifier.testing import unit_rows

DIGESTS = st.lists(st.integers(0, 6), max_size=12).map(lambda values: np.array(values, np.uint64))


@given(DIGESTS, DIGESTS)
def test_came_and_gone_are_counted(then, now):
    """As multisets; every example that was there is found at a place where it was."""
    since = Since.of(then, now)
    before, after = Counter(then.tolist()), Counter(now.tolist())
    assert since.came == (after - before).total()
    assert since.gone == (before - after).total()
    for row, digest in zip(since.rows, now):
        assert (row < 0) == (digest not in before)
        assert row < 0 or then[row] == digest


def test_crowding_of_new_examples_is_that_of_all():
    """What is filled in equals what is fitted on everything."""
    units = unit_rows(np.random.default_rng(0), 40, 8)
    gallery = Gallery(units, np.zeros(40, np.int64), 1)
    whole = Density.of(gallery).crowding
    some = whole.copy()
    some[[3, 17, 39]] = np.nan
    np.testing.assert_allclose(with_crowding(some, gallery), whole, atol=1e-6)
    two = Gallery(units[:2], np.zeros(2, np.int64), 1)
    np.testing.assert_allclose(with_crowding(np.full(2, np.nan), two), Density.of(two).crowding, atol=1e-6)
