"""Requests go first: a run pauses between two batches while images of requests wait."""

from __future__ import annotations

import time
from collections.abc import Callable

from lmm_classifier.batching.classifier_queue import ClassifierQueue

BATCH = 8  # images of a run that are classified together: a request waits for no more than these
_PAUSE = 4.0  # times the seconds of a batch that a run pauses at most, so that it gets a fifth of the time at least
_IDLE = 0.02  # seconds without a waiting image after which nobody seems to ask
_STEP = 0.005  # seconds


class Courtesy:
    """Measures the batches of runs, and lets the images of a queue go first.

    Args:
        queue: of the requests.
        clock: seconds that pass; another one for tests.
        sleep: waits some seconds; another one for tests.
    """

    def __init__(
        self,
        queue: ClassifierQueue,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._queue, self._clock, self._sleep = queue, clock, sleep

    def pause(self, started: float, is_cancelled: Callable[[], bool] = lambda: False) -> float:
        """Wait while images wait in the queue, at most four times as long as the batch took; return the time now.

        Args:
            started: when the batch began, by `now`.
            is_cancelled: whether the run is to end.
        """
        now = self._clock()
        end = now + _PAUSE * (now - started)
        busy: float | None = None  # when an image waited last
        while now < end and not is_cancelled():
            if self._queue.statistics.waiting:
                busy = now
            elif busy is None or now - busy >= _IDLE:
                break
            self._sleep(_STEP)
            now = self._clock()
        return now

    def now(self) -> float:
        """Return the time."""
        return self._clock()
