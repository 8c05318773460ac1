"""Results computed ahead come in order, in bounded number, and no error is lost."""

import os
import subprocess
import sys
import threading
import time

import pytest

from lmm_classifier.core.concurrency import cpu_count, lower_priority, prefetch, threaded_map


def test_results_come_in_order():
    """The order does not depend on how long each job takes."""
    results = threaded_map(lambda n: (time.sleep((n % 3) / 500), n * n)[1], range(40), 4)
    assert list(results) == [n * n for n in range(40)]
    assert list(threaded_map(str, [], 2)) == []


def test_no_more_than_four_items_a_thread_are_taken_ahead():
    """The source is read only as results are taken; closing ends the threads."""
    taken = []
    results = threaded_map(str, (taken.append(n) or n for n in range(100)), 2)
    next(results)
    assert len(taken) <= 9
    before = set(threading.enumerate())
    results.close()
    assert set(threading.enumerate()) <= before


def test_the_error_of_a_job_is_raised_in_its_place():
    """The results before the error come first."""

    def job(n):
        if n == 3:
            raise ValueError("three")
        return n

    results = threaded_map(job, range(6), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def numbers(log, until=10, error=None):
    try:
        for n in range(until):
            log.append((n, threading.get_ident()))
            yield n
        if error is not None:
            raise error
    finally:
        log.append("closed")


def test_the_next_item_is_computed_while_one_is_used():
    """It is computed in another thread, one item ahead and no more."""
    log = []
    items = prefetch(numbers(log))
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(log) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert [n for n, _ in log] == [0, 1]
    assert {thread for _, thread in log} != {threading.get_ident()}
    assert list(items) == list(range(1, 10))
    assert log[-1] == "closed"


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_an_error_of_the_source_reaches_the_caller(error):
    """It comes after the items before it; an interruption comes through too."""
    items = prefetch(numbers([], 2, error))
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(type(error)):
        next(items)


def test_closing_early_closes_the_source():
    """No thread and no open source is left behind."""
    log, before = [], set(threading.enumerate())
    items = prefetch(numbers(log))
    next(items)
    items.close()
    assert log[-1] == "closed"
    assert set(threading.enumerate()) <= before


def test_there_is_a_processor():
    """The count is at least one."""
    assert cpu_count() >= 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no priorities of threads")
def test_only_the_thread_that_asks_has_a_lower_priority():
    """The others keep theirs."""
    found = []

    def ask():
        lower_priority()
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert found == [max(before, 10)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


def test_a_generator_that_is_collected_as_garbage_is_closed():
    """In a cycle of references, as an error with its traceback makes one. Waiting for its thread would never end."""
    done = subprocess.run([sys.executable, "-c", IN_A_CYCLE], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "closed\n" * 5


IN_A_CYCLE = """
import gc
from lmm_classifier.core.concurrency import prefetch

class Cycle:
    pass

def items():
    try:
        yield from range(100)
    finally:
        print("closed", flush=True)

for _ in range(5):
    cycle = Cycle()
    cycle.itself, cycle.items = cycle, prefetch(items())
    next(cycle.items)
    del cycle
    gc.collect()
"""
