"""The fine product: nearly exact, and the same bits whatever the batch."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from lmm_classifier.core.linalg import FineProduct, on_one_thread


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 9), st.integers(-20, 20), st.integers(0, 1000))
def test_it_errs_by_less_than_a_millionth_of_a_millionth(dim, columns, exponent, seed):
    """For any scale of the numbers, relative to the lengths of both sides."""
    rng = np.random.default_rng(seed)
    rows, matrix = rng.normal(size=(4, dim)) * 2.0**exponent, rng.standard_t(3, size=(dim, columns))
    lengths = np.linalg.norm(rows, axis=1)[:, None] * np.linalg.norm(matrix, axis=0)
    expected = (rows.astype(np.longdouble) @ matrix.astype(np.longdouble)).astype(float)
    assert (np.abs(FineProduct(matrix)(rows) - expected) <= 1e-11 * lengths).all()


@pytest.mark.parametrize("size", [1, 7, 64])
def test_bits_do_not_depend_on_the_batch(size):
    """Rows come out the same alone and together."""
    rng = np.random.default_rng(0)
    rows, product = rng.normal(size=(130, 700)), FineProduct(rng.normal(size=(700, 33)))
    parts = [product(rows[start : start + size]) for start in range(0, 130, size)]
    np.testing.assert_array_equal(np.concatenate(parts), product(rows))


def test_zeros_stay_zeros():
    """A row or column of nothing, and no rows at all."""
    assert not FineProduct(np.zeros((5, 2)))(np.zeros((3, 5))).any()
    assert FineProduct(np.ones((5, 2)))(np.empty((0, 5))).shape == (0, 2)


def blas():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@on_one_thread
def inside(then=lambda: None):
    """What a limited function sees."""
    seen = blas()
    then()
    return seen | blas()


def test_the_limit_holds_inside_only():
    """One thread inside, even within another limited call; as before outside."""
    with threadpool_limits(2, "blas"):
        assert inside(inside) == {1}
        assert blas() == {2}


def test_any_thread_may_set_it():
    """In several threads one after the other, and at once: one thread inside each time, as before afterwards."""
    before, seen = blas(), []
    inside()
    threads = [threading.Thread(target=lambda: seen.append(inside(inside))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [{1}] * 4
    assert blas() == before


def test_an_error_ends_the_limit():
    """Whatever happens inside, the number of threads is as before."""

    def fail():
        raise ValueError

    with threadpool_limits(2, "blas"):
        with pytest.raises(ValueError):
            inside(fail)
        assert blas() == {2}
