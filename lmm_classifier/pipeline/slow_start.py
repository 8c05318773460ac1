"""Say once that a start takes long because the index is not calibrated."""

from __future__ import annotations

import logging
from time import monotonic

from lmm_classifier.calibration.predictions import SCORING
from lmm_classifier.core.progress import Progress

logger = logging.getLogger(__name__)

SECONDS = 3.0  # of fitting, from which a start counts as slow


class SlowStart:
    """A progress callback of a fit; it logs one warning where the fit takes longer than `SECONDS`.

    Args:
        labels_chosen: whether the configuration chooses some labels. A calibration would not help then.
    """

    def __init__(self, labels_chosen: bool) -> None:
        self._labels_chosen = labels_chosen
        self._started, self._said = monotonic(), False

    def __call__(self, progress: Progress) -> None:
        """Compare the time since the start with the limit."""
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
