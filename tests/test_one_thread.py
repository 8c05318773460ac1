"""One thread for what is stored: inside the function, and only there."""

import threading

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from lmm_classifier.one_thread import on_one_thread


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
