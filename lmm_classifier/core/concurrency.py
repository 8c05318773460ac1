"""Work done ahead of who needs it, in threads, with a bounded number of results waiting."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4  # items in work or waiting per thread before the first is asked for
_END = object()


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(job: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Generator[Result, None, None]:
    """Yield `job(item)` for each item, in order, computed by `threads` threads at most 4 items each ahead."""
    source = iter(items)
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, "ahead") as pool:
        try:
            waiting.extend(pool.submit(job, item) for item in islice(source, _AHEAD * threads))
            while waiting:
                found = waiting.popleft().result()
                waiting.extend(pool.submit(job, item) for item in islice(source, 1))
                yield found
        finally:
            for future in waiting:
                future.cancel()


def in_background(items: Generator[Item, None, None]) -> Iterator[Item]:
    """Yield what `items` yields, while its next item is made in a thread of its own: one at a time, one ahead.

    What it raises is raised here, an interruption too. It is closed when this is.
    """
    with ThreadPoolExecutor(1, "background") as worker:
        following: Future[Item | object] = worker.submit(next, items, _END)
        try:
            while (found := following.result()) is not _END:
                following = worker.submit(next, items, _END)
                yield found  # type: ignore[misc]
        finally:
            following.cancel()
            worker.submit(items.close).result()
