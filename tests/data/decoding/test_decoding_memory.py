"""A budget of memory that threads share."""

import os
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lmm_classifier.data.decoding.decoding_memory import MemoryBudget, has_memory_limit, lacks_memory

MB = 1 << 20


def test_threads_never_hold_more_than_the_budget():
    """Images wait for room; one that is larger than all is decoded alone."""
    budget, most, lock = MemoryBudget(100 * MB), [], threading.Lock()

    def use(size):
        with budget.reserved(size * MB), lock:
            most.append((budget.used // MB, size))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, [30, 60, 250, 10, 90, 50] * 50))
    assert len(most) == 300
    assert all(used <= max(100, size) for used, size in most)
    assert budget.used == 0


def test_an_image_waits_for_room():
    """The second image begins when the first has ended."""
    budget, order = MemoryBudget(100 * MB), []
    began = threading.Event()

    def second():
        began.set()
        with budget.reserved(60 * MB):
            order.append("second")

    thread = threading.Thread(target=second)
    with budget.reserved(60 * MB):
        thread.start()
        began.wait()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_the_whole_budget():
    """What threads of the parent hold does not exist in the child."""
    budget = MemoryBudget(100 * MB)
    with budget.reserved(100 * MB), budget._changed:
        child = os.fork()
        if child == 0:
            with budget.reserved(100 * MB):
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_lack_of_memory_is_noticed():
    """A limit of the process is one reason, what cannot be had at all another."""
    assert not lacks_memory(1 << 20)
    assert lacks_memory(1 << 60)
    code = (
        "import resource; from lmm_classifier.data.decoding.decoding_memory import has_memory_limit, lacks_memory\n"
        "print(has_memory_limit()); resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))\n"
        "print(has_memory_limit(), lacks_memory(2 << 30), lacks_memory(1 << 20))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1] == "True True False"
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        assert has_memory_limit() == (done.stdout.splitlines()[0] == "True")
