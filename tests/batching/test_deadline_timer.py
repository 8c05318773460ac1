"""Deadlines come in their order, once each, and not after an item is gone."""

import threading

from lmm_classifier.batching.deadline_timer import DeadlineTimer
from tests.helpers.manual_clock import ManualClock

LONG = 60


class Expired:
    """Collects what expires."""

    def __init__(self):
        self.items, self._changed = [], threading.Condition()

    def __call__(self, item):
        with self._changed:
            self.items.append(item)
            self._changed.notify_all()
        if item == "bad":
            raise RuntimeError("no harm to the others")

    def wait(self, count):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.items) >= count, LONG)


def test_each_item_expires_once_at_its_time():
    """Whatever the order in which they are added; an error of one does not stop the others."""
    clock, expired = ManualClock(), Expired()
    timer = DeadlineTimer(clock, expired)
    for item, time in (("late", 9.0), ("bad", 1.0), ("early", 1.0), ("gone", 2.0), ("never", float("inf"))):
        timer.add(item, time)
    timer.discard("gone")
    timer.discard("never")
    clock.advance(5)
    expired.wait(2)
    timer.add("at once", 3.0)
    expired.wait(3)
    clock.advance(5)
    expired.wait(4)
    timer.stop()
    assert expired.items == ["bad", "early", "at once", "late"]


def test_nothing_is_kept_of_items_that_are_gone():
    """Also where their deadlines are far away."""
    timer = DeadlineTimer(ManualClock(), Expired())
    for number in range(10_000):
        timer.add(number, 1e9)
        timer.discard(number)
    assert len(timer._heap) < 100
    assert not timer._items
    timer.stop()
