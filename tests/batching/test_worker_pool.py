"""Workers take what waits, in order, in bounded parts, and survive an error."""

import threading

from lmm_classifier.batching.worker_pool import WorkerPool

LONG = 60


class Work:
    """Records its parts; the first one waits for `gate`."""

    def __init__(self, expected):
        self.parts, self.gate, self.busy, self.done = [], threading.Event(), threading.Event(), threading.Event()
        self._expected = expected

    def __call__(self, items):
        self.parts.append(list(items))
        self.busy.set()
        assert self.gate.wait(LONG)
        if sum(map(len, self.parts)) >= self._expected:
            self.done.set()
        if items == [0]:
            raise RuntimeError("the next ones are handled all the same")


def test_whatever_waits_is_taken_in_order():
    """An idle worker takes one at once; later it takes all that came meanwhile, up to the most."""
    work = Work(expected=7)
    pool = WorkerPool("test", 1, 4, work)
    pool.put(0)
    assert work.busy.wait(LONG)
    for item in (1, 2, 3, 99, 4, 5, 6):
        pool.put(item)
    pool.discard(99)
    pool.discard(1000)
    assert len(pool) == 6
    work.gate.set()
    assert work.done.wait(LONG)
    pool.stop(LONG)
    assert work.parts == [[0], [1, 2, 3, 4], [5, 6]]


def test_after_the_end_nothing_is_taken():
    """What waited is dropped, and a thread that hangs holds nobody."""
    work = Work(expected=1)
    pool = WorkerPool("test", 1, 1, work)
    pool.put(1)
    assert work.busy.wait(LONG)
    pool.put(2)
    pool.stop(0)
    pool.put(3)
    assert len(pool) == 0
    work.gate.set()
    pool.stop(LONG)
    assert work.parts == [[1]]
