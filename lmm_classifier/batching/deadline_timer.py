"""Deadlines that are kept whatever the workers do."""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Callable, Hashable
from itertools import count
from threading import Condition, Thread, current_thread
from typing import Generic, TypeVar

from lmm_classifier.batching.clock import Clock

logger: logging.Logger = logging.getLogger(__name__)

Item = TypeVar("Item", bound=Hashable)

_SPARE = 64  # entries of items that are gone, until the heap is made again


class DeadlineTimer(Generic[Item]):
    """A thread that calls `expire` for each item whose time is over; it starts with the first item."""

    def __init__(self, clock: Clock, expire: Callable[[Item], None]) -> None:
        self._clock, self._expire = clock, expire
        self._numbers = count()
        self._heap: list[tuple[float, int]] = []  # time, number of the item
        self._items: dict[int, Item] = {}
        self._number_of: dict[Item, int] = {}
        self._thread: Thread | None = None
        self._is_stopped = False
        self._changed = Condition()

    def add(self, item: Item, time: float) -> None:
        """Expire an item at a time of the clock; never at infinity."""
        if time == math.inf:
            return
        with self._changed:
            number = next(self._numbers)
            self._items[number], self._number_of[item] = item, number
            heapq.heappush(self._heap, (time, number))
            if self._thread is None and not self._is_stopped:
                self._thread = Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            if self._heap[0][1] == number:  # else the thread is awake before
                self._changed.notify()

    def discard(self, item: Item) -> None:
        """Forget an item, if it is there."""
        with self._changed:
            number = self._number_of.pop(item, None)
            if number is not None:
                del self._items[number]
            if len(self._heap) > 2 * len(self._items) + _SPARE:
                self._heap = [entry for entry in self._heap if entry[1] in self._items]
                heapq.heapify(self._heap)

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        if self._thread is not None and self._thread is not current_thread():
            self._thread.join()

    def _run(self) -> None:
        while (due := self._next_due()) is not None:
            while due:  # nothing of an item is kept until the next one
                try:
                    self._expire(due.pop(0))
                except Exception:
                    logger.exception("A deadline could not be kept.")

    def _next_due(self) -> list[Item] | None:
        """Wait for the next items whose time is over; None after `stop`."""
        with self._changed:
            while not self._is_stopped:
                due = []
                while self._heap and self._heap[0][0] <= self._clock.now():
                    item = self._items.pop(heapq.heappop(self._heap)[1], None)
                    if item is not None:
                        del self._number_of[item]
                        due.append(item)
                if due:
                    return due
                self._clock.wait(self._changed, self._heap[0][0] - self._clock.now() if self._heap else None)
            return None
