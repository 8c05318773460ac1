"""A clock that moves only when a test says so."""

from lmm_classifier.batching.clock import Clock

_POLL = 0.005  # seconds; those that wait see only then that the clock moved


class ManualClock(Clock):
    """Its seconds pass by `advance`."""

    def __init__(self):
        self._now = 0.0

    def now(self):
        return self._now

    def wait(self, condition, seconds):
        condition.wait(_POLL)

    def advance(self, seconds):
        self._now += seconds
