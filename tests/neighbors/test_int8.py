"""Products of 8-bit integers: never farther from the true product than they say."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.core.errors import MissingExtraError
from lmm_classifier.neighbors.int8 import Int8Block, Int8Queries, Rounded, is_available
from lmm_classifier.testing import unit_rows

pytest.importorskip("onnxruntime")


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 700), st.integers(1, 80), st.sampled_from([0, 1, 3]), st.integers(0, 999))
def test_the_bound_holds(count, dim, outliers, seed):
    """For any shape, with dimensions that outweigh all others, and with rows of nothing."""
    rng = np.random.default_rng(seed)
    rows, queries = rng.normal(size=(count, dim)), rng.normal(size=(6, dim))
    rows[:, :outliers] *= 50
    rows[:: max(count // 3, 1)] = 0
    rows, queries = (each.astype(np.float32) for each in (rows, queries))
    block, rounded = Int8Block(rows), Int8Queries.of(queries)
    off = np.abs(block.scores(rounded) - queries.astype(float) @ rows.astype(float).T)
    assert (off.max(axis=1) <= block.errors(rounded)).all()


def test_products_of_integers_are_exact():
    """Rows of small integers are multiplied without any error."""
    rng = np.random.default_rng(0)
    rows = rng.integers(-127, 128, (300, 1152)).astype(np.float32)
    rows[:, 0] = 127
    np.testing.assert_array_equal(Int8Block(rows).scores(Int8Queries.of(rows[:9])), rows[:9] @ rows.T)


def test_what_is_not_finite_is_refused():
    """NaN has no place in a bound."""
    rows = unit_rows(np.random.default_rng(1), 3, 4)
    rows[1, 2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        Rounded.of(rows)


def test_without_onnx_runtime_the_extra_is_named(monkeypatch):
    """The message is what to type."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lmm-classifier\[search\]'"):
        Int8Block(unit_rows(np.random.default_rng(2), 3, 4))
    assert is_available() in (True, False)
