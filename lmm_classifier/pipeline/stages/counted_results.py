"""Count results while they are taken, and show how many there are."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing

from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.progress import Progress, ProgressOption
from lmm_classifier.core.progress_display import displayed


def counted(
    results: Generator[Classification, None, None], total: int | None, progress: ProgressOption
) -> Iterator[Classification]:
    """Yield the results, and report each before it is given; a wrong `progress` raises ConfigError with the first one.

    Args:
        results: of a run.
        total: number of its images; None where it is not known.
        progress: True shows it; a function is called.
    """
    done = unreadable = 0
    with closing(results), displayed(progress) as show:
        for result in results:
            done += 1
            unreadable += result.decision.reason == "unreadable"
            if show is not None:
                show(Progress("classifying", done, total, unreadable))
            yield result
