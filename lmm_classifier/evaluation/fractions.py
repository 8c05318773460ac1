"""Fractions of images with their 95% confidence intervals, as plain values."""

from __future__ import annotations

from typing import Any

from lmm_classifier.core import metrics
from lmm_classifier.core.arrays import BoolArray


def fraction(flags: BoolArray) -> dict[str, Any]:
    """Return the fraction of true flags (n,) with its 95% confidence interval; None where there are no flags."""
    return fraction_of(int(flags.sum()), len(flags))


def fraction_of(successes: int, count: int) -> dict[str, Any]:
    """Return the fraction of `count` images that are successes, with its 95% confidence interval."""
    low, high = metrics.wilson_interval(successes, count)
    return {
        "fraction": successes / count if count else None,
        "count": successes,
        "of": count,
        "interval": [low, high],
    }
