"""Work ahead: in order, bounded, and nothing that goes wrong is lost."""

import threading
import time

import pytest

from lmm_classifier.core.concurrency import in_background, in_threads, processors


def test_results_come_in_order():
    """However long each takes."""
    found = in_threads(lambda n: (time.sleep((n % 3) / 500), n * n)[1], range(40), 4)
    assert list(found) == [n * n for n in range(40)]
    assert list(in_threads(str, [], 2)) == []


def test_no_more_than_four_items_a_thread_are_taken_ahead():
    """The source is asked only as results are taken; closing ends the threads."""
    taken = []
    found = in_threads(str, (taken.append(n) or n for n in range(100)), 2)
    next(found)
    assert len(taken) <= 9
    before = threading.active_count()
    found.close()
    assert threading.active_count() <= before


def test_the_error_of_a_job_is_raised_in_its_place():
    """What came before it is given first."""

    def job(n):
        if n == 3:
            raise ValueError("three")
        return n

    found = in_threads(job, range(6), 2)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(found)


def numbers(log, until=10, error=None):
    try:
        for n in range(until):
            log.append((n, threading.get_ident()))
            yield n
        if error is not None:
            raise error
    finally:
        log.append("closed")


def test_the_next_item_is_made_while_one_is_used():
    """In another thread, one ahead and no more."""
    log = []
    found = in_background(numbers(log))
    assert next(found) == 0
    deadline = time.monotonic() + 5
    while len(log) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert [n for n, _ in log] == [0, 1]
    assert {thread for _, thread in log} != {threading.get_ident()}
    assert list(found) == list(range(1, 10))
    assert log[-1] == "closed"


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_what_the_source_raises_is_raised_here(error):
    """After the items before it; an interruption too."""
    found = in_background(numbers([], 2, error))
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(type(error)):
        next(found)


def test_the_source_is_closed_with_its_user():
    """Whoever leaves early leaves no thread and no open source behind."""
    log, before = [], threading.active_count()
    found = in_background(numbers(log))
    next(found)
    found.close()
    assert log[-1] == "closed"
    assert threading.active_count() == before


def test_processors():
    """At least one."""
    assert processors() >= 1
