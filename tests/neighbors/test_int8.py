"""Products of 8-bit integers: their errors stay within the stated bound."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.core.errors import MissingExtraError
from lmm_classifier.neighbors.int8 import Int8Block, Int8Queries, Rounded, is_available, model_for
from lmm_classifier.testing import random_embeddings

pytest.importorskip("onnxruntime")


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 700), st.integers(1, 80), st.sampled_from([0, 1, 3]), st.integers(0, 999))
def test_errors_stay_within_the_bound(count, dim, outliers, seed):
    """The bound holds for any shape, for dimensions that outweigh all others, and for rows of zeros."""
    rng = np.random.default_rng(seed)
    rows, queries = rng.normal(size=(count, dim)), rng.normal(size=(6, dim))
    rows[:, :outliers] *= 50
    rows[:: max(count // 3, 1)] = 0
    rows, queries = (values.astype(np.float32) for values in (rows, queries))
    block, rounded = Int8Block(rows), Int8Queries.of(queries)
    errors = np.abs(block.scores(rounded) - queries.astype(float) @ rows.astype(float).T)
    assert (errors.max(axis=1) <= block.errors(rounded)).all()


def test_products_of_integers_are_exact():
    """Rows of small integers are multiplied without any error."""
    rng = np.random.default_rng(0)
    rows = rng.integers(-127, 128, (300, 1152)).astype(np.float32)
    rows[:, 0] = 127
    np.testing.assert_array_equal(Int8Block(rows).scores(Int8Queries.of(rows[:9])), rows[:9] @ rows.T)


def test_numbers_that_are_not_finite_are_refused():
    """NaN in a row raises ValueError."""
    rows = random_embeddings(np.random.default_rng(1), 3, 4)
    rows[1, 2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        Rounded.of(rows)


def test_without_onnx_runtime_the_error_names_the_extra(monkeypatch):
    """The message holds the pip command."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lmm-classifier\[search\]'"):
        Int8Block(random_embeddings(np.random.default_rng(2), 3, 4))
    assert is_available() in (True, False)


def test_the_model_file_is_the_one_that_the_script_makes():
    """`int8_matmul.onnx` holds the graph of `scripts/make_int8_model.py`."""
    onnx = pytest.importorskip("onnx")
    from scripts.make_int8_model import PATH, make_model

    assert onnx.load_from_string(PATH.read_bytes()) == make_model(), "run `python -m scripts.make_int8_model`"


@pytest.mark.parametrize(("width", "count"), [(1, 1), (127, 128), (1152, 8192), (3000, 32_768), (16_384, 2_100_000)])
def test_the_model_has_the_size_of_the_rows(width, count):
    """Only the two placeholders change, for numbers that protocol buffers store in one to four bytes."""
    onnx = pytest.importorskip("onnx")
    from scripts.make_int8_model import make_model

    expected = make_model()
    expected.graph.initializer[0].dims[:] = [width, count]
    assert onnx.load_from_string(model_for(width, count)) == expected
