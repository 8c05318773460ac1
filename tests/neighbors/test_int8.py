"""Products of 8-bit integers: their errors stay within the stated bound."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.core.errors import MissingExtraError
from lmm_classifier.neighbors import int8
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


def test_the_bound_is_that_of_cauchy_and_schwarz():
    """Recomputed from the rounded numbers, with a millionth for the float32 in which they are scaled back."""
    rng = np.random.default_rng(3)
    rows, queries = (rng.normal(size=(count, 24)).astype(np.float32) for count in (700, 5))

    def norms(values):
        return np.sqrt(np.square(values, dtype=np.float64).sum(axis=1))

    def rounded(values):
        scales = np.abs(values).max(axis=1) / np.float32(127)
        return np.rint(values / scales[:, None]) * scales[:, None]

    largest_norm, largest_residual = norms(rounded(rows)).max(), norms(rows - rounded(rows)).max()
    expected = norms(queries - rounded(queries)) * largest_norm + norms(queries) * largest_residual
    expected = expected * (1 + 1e-6) + 1e-6 * norms(queries) * largest_norm
    found = Int8Block(rows).errors(Int8Queries.of(queries))
    np.testing.assert_allclose(found, expected, rtol=2e-7)


def test_the_engine_is_used_only_where_it_is_exact(monkeypatch):
    """The largest integers, 256 of them, by one query and by several; another processor may overflow in 16 bits."""
    session = int8._session(np.full((256, 64), 127, np.int8))

    def products(count):
        return session.run(None, {"queries": np.full((count, 256), 255, np.uint8)})[0]

    assert is_available() == all((products(count) == 256 * 127**2).all() for count in (1, 16))

    class Overflowing:
        """Multiplies exactly, but for so many queries."""

        def __init__(self, wrong_for):
            self._wrong_for = wrong_for

        def run(self, _, inputs):
            exact = np.full((len(inputs["queries"]), 64), 256 * 127**2, np.int32)
            exact[-1, -1] -= len(inputs["queries"]) == self._wrong_for
            return [exact]

    for wrong_for, expected in ((1, False), (16, False), (0, True)):
        monkeypatch.setattr(int8, "_session", lambda _, number=wrong_for: Overflowing(number))
        assert is_available.__wrapped__() == expected
    monkeypatch.setattr(int8, "find_spec", lambda _: None)
    assert not is_available.__wrapped__()


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
    assert not is_available.__wrapped__()


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
