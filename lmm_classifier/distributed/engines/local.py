"""Engines that need no other library: one after the other in this process, or in several processes of this machine."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, cast

from lmm_classifier.core.errors import EngineError
from lmm_classifier.core.protocols import Engine, Outcome, Task

_END: Any = object()
_MOST_DEATHS = 30  # of workers, one after the other, without a finished task between them


@dataclass(frozen=True)
class InProcess:
    """Runs the tasks one after the other in this process."""

    def run(self, tasks: Iterable[Task], build: Callable[[], Callable[[Task], Outcome]]) -> Iterator[Outcome]:
        """Yield the outcomes in the order of the tasks."""
        worker: Callable[[Task], Outcome] | None = None
        for task in tasks:
            worker = worker or build()
            yield worker(task)


@dataclass(frozen=True)
class Processes:
    """Runs the tasks in processes of this machine. Where one ends, its tasks are given to another.

    Example:
        >>> from lmm_classifier.distributed.engines.local import Processes
        >>> Processes(2).workers
        2
    """

    workers: int

    def run(self, tasks: Iterable[Task], build: Callable[[], Callable[[Task], Outcome]]) -> Iterator[Outcome]:
        """Yield the outcomes as they come.

        Raises:
            EngineError: workers end again and again, and no task is finished between.
        """
        source, returned, deaths = iter(tasks), list[Task](), 0
        idle = [_executor(build) for _ in range(self.workers)]
        running: dict[Future[Outcome], tuple[ProcessPoolExecutor, Task]] = {}
        try:
            while True:
                while idle and (task := returned.pop() if returned else next(source, _END)) is not _END:
                    executor = idle.pop()
                    running[executor.submit(_work, task)] = executor, cast(Task, task)
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    executor, task = running.pop(future)
                    if isinstance(future.exception(), BrokenProcessPool):
                        executor.shutdown(wait=False)
                        idle.append(_executor(build))
                        returned.append(task)
                        deaths += 1
                        _require_fewer(deaths)
                        continue
                    idle.append(executor)
                    deaths = 0
                    yield future.result()
        finally:
            for executor in [*idle, *(executor for executor, _ in running.values())]:
                _end(executor)


@dataclass(frozen=True)
class FewHere:
    """Runs a few tasks in this process, because to start workers takes longer, and more of them by another engine."""

    engine: Engine
    few: int = 4

    def run(self, tasks: Iterable[Task], build: Callable[[], Callable[[Task], Outcome]]) -> Iterator[Outcome]:
        """Yield the outcomes as they come."""
        source = iter(tasks)
        first = list(islice(source, self.few + 1))
        if len(first) <= self.few:
            yield from InProcess().run(first, build)
        else:
            yield from self.engine.run(chain(first, source), build)


def _executor(build: Callable[[], Callable[[Any], Any]]) -> ProcessPoolExecutor:
    """Return a pool of one process: a larger one ends all its processes where one of them ends."""
    # a fork would share threads and locks of libraries
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _keep, (build,))


def _end(executor: ProcessPoolExecutor) -> None:
    """End a pool without waiting for its task: files are written whole, so nothing is left half done."""
    for process in list((executor._processes or {}).values()):
        process.terminate()
    executor.shutdown(wait=True, cancel_futures=True)


def _require_fewer(deaths: int) -> None:
    if deaths >= _MOST_DEATHS:
        raise EngineError(
            f"{deaths} workers ended one after the other, and none finished a task. The system log may say why; often "
            "memory is short. Give fewer workers. What is finished stays."
        )


_worker: Callable[[Any], Any] | None = None
_build: Callable[[], Callable[[Any], Any]] | None = None


def _keep(build: Callable[[], Callable[[Any], Any]]) -> None:
    global _build  # noqa: PLW0603 - the library gives an initializer no other place for its result
    _build = build


def _work(task: Any) -> Any:
    global _worker  # noqa: PLW0603
    if _worker is None and _build is not None:  # here, so that its errors are those of a task
        _worker = _build()
    return cast(Callable[[Any], Any], _worker)(task)
