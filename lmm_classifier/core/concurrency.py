"""Compute results in threads before they are needed, with a bounded number of results waiting."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_END = object()
_NICE = 10  # a tenth of the processor time of another thread, where both want it


def cpu_count() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threaded_map(
    job: Callable[[Item], Result],
    items: Iterable[Item],
    threads: int,
    ahead: Callable[[], int] | None = None,
    on_end: Callable[[], None] | None = None,
) -> Generator[Result, None, None]:
    """Yield `job(item)` for each item, in order, computed in threads.

    `ahead` returns how many items at most are computed or waiting before the caller takes the first; it may change. By
    default it is 4 per thread. `on_end` is called when no result is wanted any more, before the threads are waited for.
    """
    wanted = ahead or (lambda: 4 * threads)
    source = iter(items)
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, "ahead") as pool:
        try:
            waiting.extend(pool.submit(job, item) for item in islice(source, wanted()))
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(job, item) for item in islice(source, max(wanted() - len(waiting), 0)))
                yield result
        finally:
            for future in waiting:
                future.cancel()
            if on_end is not None:
                on_end()


def prefetch(items: Generator[Item, None, None]) -> Iterator[Item]:
    """Yield the items of `items` while a thread of its own computes the next item: one at a time, one ahead.

    An error that `items` raises is raised here, an interruption too. `items` is closed together with this generator.
    """
    with ThreadPoolExecutor(1, "background") as worker:
        following: Future[Item | object] = worker.submit(next, items, _END)
        try:
            while (item := following.result()) is not _END:
                following = worker.submit(next, items, _END)
                yield item  # type: ignore[misc]
        finally:
            if not following.cancel():
                wait([following])
            items.close()  # here: of a generator that is collected as garbage, the thread may have ended


def lower_priority() -> None:
    """Let the other threads of this process go first, where the system can tell threads apart: on Linux."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(os.getpriority(os.PRIO_PROCESS, thread), _NICE))
