"""A job in the background runs again and again, and ends with its owner."""

import gc
import multiprocessing
import threading
import weakref

import pytest

from lmm_classifier.core.errors import Cancelled
from lmm_classifier.core.progress import Progress
from lmm_classifier.pipeline.following.background import BackgroundJob

LONG = 60  # seconds; only a broken test waits that long


class Owner:
    def __init__(self, fails=False):
        self.fails, self.calls, self.called = fails, 0, threading.Event()
        self.job = BackgroundJob(self.work)

    def work(self):
        self.calls += 1
        self.called.set()
        if self.fails and self.calls == 1:
            raise OSError("a failure is no end")


def test_it_runs_until_it_is_stopped(followers):
    """After a failure too; `stop` has waited for the thread."""
    owner = Owner(fails=True)
    owner.job.ensure_started()
    for _ in range(2):
        assert owner.called.wait(LONG)
        owner.called.clear()
    owner.job.check(Progress("fitting", 1, 2))
    owner.job.stop()
    assert followers() == []
    with pytest.raises(Cancelled):
        owner.job.check(Progress("fitting", 2, 2))
    owner.job.ensure_started()
    assert followers() == []


def test_it_ends_with_its_owner(followers):
    """The thread holds no reference to it."""
    owner = Owner()
    owner.job.ensure_started()
    assert owner.called.wait(LONG)
    (thread,) = followers()
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    thread.join(LONG)
    assert gone() is None
    assert not thread.is_alive()


def _runs_in_the_child(owner, answers):
    owner.called.clear()
    before = owner.job._thread
    owner.job.ensure_started()
    answers.put((before is None, owner.called.wait(LONG)))
    owner.job.stop()


def test_a_forked_process_starts_its_own_thread():
    """The parent's does not exist there."""
    owner = Owner()
    owner.job.ensure_started()
    assert owner.called.wait(LONG)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_runs_in_the_child, args=(owner, answers))
    child.start()
    assert answers.get(timeout=LONG) == (True, True)
    child.join(LONG)
    owner.job.stop()
