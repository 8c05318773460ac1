"""The sample of a fit through a shortlist depends on contents alone."""

import numpy as np
import pytest

from lmm_classifier.calibration.sparse.sampling import lowest_contents, rows_through_shortlist


@pytest.mark.parametrize(("labels", "rows"), [(0, 20_000), (50_000, 20_000), (100_000, 10_000), (10**6, 2000)])
def test_labels_bound_the_time(labels, rows):
    """Twenty thousand, fewer where there are very many labels, but thousands in any case."""
    assert rows_through_shortlist(labels) == rows


def test_the_lowest_contents_are_taken():
    """Whatever the order of the rows, the same contents are taken; all where there are few."""
    contents = [f"{number:04x}" for number in np.random.default_rng(0).permutation(500)]
    rows = lowest_contents(contents, 20)
    assert sorted(contents[row] for row in rows) == [f"{number:04x}" for number in range(20)]
    assert (np.diff(rows) > 0).all()
    assert lowest_contents(contents, 500).tolist() == list(range(500))
