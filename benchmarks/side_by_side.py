"""Times jobs in turns, so that whatever else the machine does falls on all of them alike."""

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
        """The middle one."""
        return statistics.median(self.seconds)


def in_turns(jobs: Mapping[str, Callable[[], object]], rounds: int = 5) -> dict[str, Times]:
    """Run every job once unmeasured, then `rounds` times, each round in the same order."""
    for job in jobs.values():
        job()
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - started)
    return {name: Times(tuple(found)) for name, found in seconds.items()}


def ratio(slow: Times, fast: Times) -> tuple[float, str]:
    """How many times faster `fast` is: the ratio of the medians, and the least and largest of single rounds."""
    rounds = [one / other for one, other in zip(slow.seconds, fast.seconds, strict=True)]
    return slow.median / fast.median, f"{min(rounds):.3g} to {max(rounds):.3g}"
