"""Say that a start takes long because the index is not calibrated: once in the log, and to whoever watches."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

from lmm_classifier.calibration.predictions import SCORING
from lmm_classifier.core.progress import Progress, ProgressCallback

logger: logging.Logger = logging.getLogger(__name__)

SECONDS = 3.0  # of fitting, from which a start counts as slow

_WATCHER: ContextVar[ProgressCallback | None] = ContextVar("lmm_classifier_start_watcher", default=None)


@contextmanager
def watched_start(watcher: ProgressCallback) -> Iterator[None]:
    """Call `watcher` with the progress of rules that are fitted in the `with` block; `Cancelled` in it stops them.

    It is called for every classifier that this thread opens in the block.
    """
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


class SlowStart:
    """A progress callback of a fit; it logs one warning where the fit takes longer than `SECONDS`.

    Args:
        labels_chosen: whether the configuration chooses some labels. A calibration would not help then.
    """

    def __init__(self, labels_chosen: bool) -> None:
        self._labels_chosen = labels_chosen
        self._started, self._said = monotonic(), False

    def __call__(self, progress: Progress) -> None:
        """Compare the time since the start with the limit, and tell whoever watches."""
        if (watcher := _WATCHER.get()) is not None:
            watcher(progress)
        seconds = monotonic() - self._started
        if self._said or seconds < SECONDS or progress.stage != SCORING:
            return
        self._said = True
        whole = seconds * (progress.total or 1) / max(progress.done, 1)
        cause = (
            "The setting labels chooses some labels, so"
            if self._labels_chosen
            else "The index has no calibration that fits, so"
        )
        advice = "" if self._labels_chosen else " Calibrate the index once to avoid that: `lmm-classifier calibrate`."
        logger.warning(
            "%s the rule is fitted to the examples at each start, which takes about %.0f s.%s", cause, whole, advice
        )
