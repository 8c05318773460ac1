"""A change of the index is pending until the version with it answers."""

import threading

import pytest

from lmm_classifier.pipeline.following.pending_change import PendingChange

LONG = 60


class FakeWatcher:
    """Says once of each commit that the index changed."""

    def __init__(self):
        self.commits, self.seen, self.closed = 0, 0, False
        self.asked = threading.Event()

    def changed(self):
        self.asked.set()
        changed, self.seen = self.seen < self.commits, self.commits
        return changed

    def close(self):
        self.closed = True


@pytest.fixture
def watcher():
    return FakeWatcher()


def test_several_commits_are_one_change(watcher):
    """It is taken once, and is pending until it is done."""
    change = PendingChange(watcher)
    assert (change.take(), change.age) == (False, 0.0)
    watcher.commits += 3
    assert change.take()
    assert not change.take()
    assert change.age >= 0
    assert not change.wait(0)
    change.done()
    assert change.wait(0)
    assert change.age == 0


def test_a_commit_while_another_is_followed_stays_pending(watcher):
    """`done` is of what was taken alone."""
    change = PendingChange(watcher)
    watcher.commits += 1
    assert change.take()
    watcher.commits += 1
    assert not change.wait(0)
    change.done()
    assert not change.wait(0)
    assert change.take()
    change.done()
    assert change.wait(0)


def test_who_waits_is_woken_and_does_not_wait_for_later_commits(watcher):
    """A writer that commits all the time starves nobody."""
    change = PendingChange(watcher)
    watcher.commits += 1
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(change.wait(LONG)))
    waiting.start()
    assert watcher.asked.wait(LONG)  # by the thread, which waits before anybody else may ask
    assert change.take()
    watcher.commits += 1
    assert change.age >= 0  # the later one is seen
    change.done()
    waiting.join(LONG)
    assert answers == [True]
    assert not change.wait(0)


def test_closing_wakes_who_waits(watcher):
    """The change never counts then."""
    change = PendingChange(watcher)
    watcher.commits += 1
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(change.wait(LONG)))
    waiting.start()
    assert watcher.asked.wait(LONG)
    change.close()
    waiting.join(LONG)
    assert answers == [False]
    assert watcher.closed


def test_a_forked_process_follows_again_what_its_parent_has_begun(watcher):
    """The parent's thread does not end it here."""
    change = PendingChange(watcher)
    watcher.commits += 1
    assert change.take()
    change.reset_after_fork()
    assert change.take()
    change.done()
    assert change.age == 0
