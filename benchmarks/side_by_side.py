"""Time jobs in turns, so that other work of the machine affects all of them equally."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Times:
    """Seconds of each round of one job."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Return the median of the rounds."""
        return statistics.median(self.seconds)


def in_turns(jobs: Mapping[str, Callable[[], object]], rounds: int = 5) -> dict[str, Times]:
    """Run every job once without timing it, then `rounds` times, each round in the same order."""
    for job in jobs.values():
        job()
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - started)
    return {name: Times(tuple(rounds_of_job)) for name, rounds_of_job in seconds.items()}


def ratio(slow: Times, fast: Times) -> tuple[float, str]:
    """Return how many times faster `fast` is: the ratio of the medians, and the range of the single rounds."""
    ratios = [slow_round / fast_round for slow_round, fast_round in zip(slow.seconds, fast.seconds, strict=True)]
    return slow.median / fast.median, value_range(ratios)


def value_range(values: list[float] | tuple[float, ...]) -> str:
    """Return the smallest and the largest value as text."""
    return f"{min(values):.3g} to {max(values):.3g}"
