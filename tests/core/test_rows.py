"""Rows of a store: columns belong together."""

import numpy as np
import pytest

from lmm_classifier.core.rows import RowBlock, empty_rows


def test_columns_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match=r"one length, got \[1, 2\]"):
        RowBlock(np.array([1, 2]), np.array([0, 0]), paths=["a.jpg"])


def test_no_rows_have_all_columns():
    rows = empty_rows(3)
    assert len(rows) == 0
    assert rows.vectors is not None
    assert rows.vectors.shape == (0, 3)
