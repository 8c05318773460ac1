"""The reproducible product in float64: nearly exact, with the same bits for any batch; and the limit of threads."""

import multiprocessing
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from lmm_classifier.core.linalg import ReproducibleMatmul64, single_threaded_blas, threads_for


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 9), st.integers(-20, 20), st.integers(0, 1000))
def test_the_product_is_nearly_exact(dim, columns, exponent, seed):
    """Its error is under 1e-11 of the norms of both sides, for any scale of the numbers."""
    rng = np.random.default_rng(seed)
    rows, matrix = rng.normal(size=(4, dim)) * 2.0**exponent, rng.standard_t(3, size=(dim, columns))
    norms = np.linalg.norm(rows, axis=1)[:, None] * np.linalg.norm(matrix, axis=0)
    expected = (rows.astype(np.longdouble) @ matrix.astype(np.longdouble)).astype(float)
    assert (np.abs(ReproducibleMatmul64(matrix)(rows) - expected) <= 1e-11 * norms).all()


@pytest.mark.parametrize("size", [1, 7, 64])
def test_bits_do_not_depend_on_the_batch(size):
    """A row has the same product alone and among others."""
    rng = np.random.default_rng(0)
    rows, product = rng.normal(size=(130, 700)), ReproducibleMatmul64(rng.normal(size=(700, 33)))
    parts = [product(rows[start : start + size]) for start in range(0, 130, size)]
    np.testing.assert_array_equal(np.concatenate(parts), product(rows))


def test_zeros_stay_zeros():
    """Zero rows and columns give zeros; no rows give no rows."""
    assert not ReproducibleMatmul64(np.zeros((5, 2)))(np.zeros((3, 5))).any()
    assert ReproducibleMatmul64(np.ones((5, 2)))(np.empty((0, 5))).shape == (0, 2)


def blas_threads():
    """Return the numbers of threads of numpy's libraries; a test before this one may have loaded those of scipy."""
    blas = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return {library["num_threads"] for library in blas if "numpy" in library["filepath"]}


@single_threaded_blas
def limited(job=lambda: None):
    """Return the numbers of threads that a limited function sees before and after `job`."""
    threads = blas_threads()
    job()
    return threads | blas_threads()


def test_the_limit_holds_inside_only():
    """One thread inside, even within another limited call; the former number outside."""
    with threadpool_limits(2, "blas"):
        assert limited(limited) == {1}
        assert blas_threads() == {2}


def test_any_thread_may_set_it():
    """Threads that set it at the same time each get one BLAS thread; the former number returns afterwards."""
    before, seen = blas_threads(), []
    limited()
    threads = [threading.Thread(target=lambda: seen.append(limited(limited))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [{1}] * 4
    assert blas_threads() == before


def test_an_error_ends_the_limit():
    """After an error the number of threads is the former one."""

    def fail():
        raise ValueError

    with threadpool_limits(2, "blas"):
        with pytest.raises(ValueError):
            limited(fail)
        assert blas_threads() == {2}


def test_the_limit_holds_until_the_last_thread_is_out():
    """Whichever was in first; none waits for another."""
    with threadpool_limits(2, "blas"):
        first_is_out, second_is_in, seen = threading.Event(), threading.Event(), []

        def second():
            with threads_for(1):
                second_is_in.set()
                assert first_is_out.wait(60)
                seen.append(blas_threads())

        other = threading.Thread(target=second)
        with threads_for(1):
            other.start()
            assert second_is_in.wait(60)
        first_is_out.set()
        other.join(60)
        assert seen == [{1}]
        assert blas_threads() == {2}


def test_only_small_products_are_limited():
    """A large one may use all threads."""
    with threadpool_limits(2, "blas"):
        with threads_for(1_000_000):
            assert blas_threads() == {1}
        with threads_for(10**11):
            assert blas_threads() == {2}


def _threads_in_the_child(answers):
    inside = limited()
    answers.put((inside, blas_threads()))


def test_a_process_that_is_forked_inside_lifts_the_limit_itself():
    """The thread that set it does not exist there."""
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    with threadpool_limits(2, "blas"):
        with threads_for(1):
            child = context.Process(target=_threads_in_the_child, args=(answers,))
            child.start()
            assert answers.get(timeout=60) == ({1}, {2})
            child.join(60)
            assert blas_threads() == {1}
        assert blas_threads() == {2}
