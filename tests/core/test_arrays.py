"""Row numbers as a slice index the same rows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.core.arrays import as_slice


@given(st.lists(st.integers(0, 9), max_size=6) | st.tuples(st.integers(0, 9), st.integers(0, 9)).map(sorted))
def test_the_same_rows(numbers):
    """In any order, with repetitions, none at all, and consecutive ones, which are not copied."""
    matrix, numbers = np.arange(20).reshape(10, 2), np.array(numbers, np.int64)
    if len(numbers) == 2:
        numbers = np.arange(*numbers)
    index = as_slice(numbers)
    assert np.array_equal(matrix[index], matrix[numbers])
    is_consecutive = len(numbers) > 0 and np.array_equal(numbers, np.arange(numbers[0], numbers[0] + len(numbers)))
    assert isinstance(index, slice) == is_consecutive
