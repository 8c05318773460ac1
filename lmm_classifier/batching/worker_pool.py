"""Threads that work on whatever waits."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Condition, Thread, current_thread
from typing import Generic, TypeVar

logger: logging.Logger = logging.getLogger(__name__)

Item = TypeVar("Item", bound=Hashable)


class WorkerPool(Generic[Item]):
    """Threads that each take what waits, at most `most` items at a time. None waits for a batch to fill.

    They start with the first item. They end with the program even where one hangs in its work.

    Args:
        name: of the threads.
        threads: how many.
        most: items at a time.
        work: handles some items. Its errors are logged.
    """

    def __init__(self, name: str, threads: int, most: int, work: Callable[[list[Item]], None]) -> None:
        self._name, self._count, self._most, self._work = name, threads, most, work
        self._waiting: OrderedDict[Item, None] = OrderedDict()
        self._threads: list[Thread] = []
        self._is_stopped = False
        self._changed = Condition()

    def put(self, item: Item) -> None:
        """Let an item wait; after `stop` it is dropped."""
        with self._changed:
            if self._is_stopped:
                return
            self._waiting[item] = None
            while len(self._threads) < self._count:
                thread = Thread(target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify()

    def discard(self, item: Item) -> None:
        """Forget an item that waits, if it does."""
        with self._changed:
            self._waiting.pop(item, None)

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._waiting)

    def stop(self, timeout: float) -> None:
        """Forget what waits, and wait for the threads, at most `timeout` seconds."""
        with self._changed:
            self._is_stopped = True
            self._waiting.clear()
            self._changed.notify_all()
        end = time.monotonic() + timeout
        for thread in self._threads:
            if thread is not current_thread():
                thread.join(max(end - time.monotonic(), 0))

    def _take(self) -> list[Item]:
        """Return the next items, none after `stop`."""
        with self._changed:
            while not self._waiting and not self._is_stopped:
                self._changed.wait()
            return [self._waiting.popitem(last=False)[0] for _ in range(min(self._most, len(self._waiting)))]

    def _run(self) -> None:
        while items := self._take():
            try:
                self._work(items)
            except Exception:
                logger.exception("A thread of %s failed and continues with the next image.", self._name)
            del items  # they may be large, and the next ones may come late
