"""Fractions of images with their 95% confidence intervals, as plain values."""

from __future__ import annotations

from typing import Any

from lmm_classifier.core import metrics
from lmm_classifier.core.arrays import BoolArray, IntArray


def fraction(flags: BoolArray, groups: IntArray | None = None) -> dict[str, Any]:
    """Return the fraction of true flags with its 95% confidence interval; None where there are no flags.

    Args:
        flags: of n images, (n,).
        groups: the number of the group of each image, (n,): the interval is by groups. None: each image is alone.
    """
    successes, count = int(flags.sum()), len(flags)
    if groups is None:
        low, high = metrics.wilson_interval(successes, count)
    else:
        low, high = metrics.clustered_interval(flags, groups)
    return {
        "fraction": successes / count if count else None,
        "count": successes,
        "of": count,
        "interval": [low, high],
    }


def groups_of(groups: IntArray | None, chosen: BoolArray) -> IntArray | None:
    """Return the groups (n,) of the chosen images; None where images are not grouped."""
    return None if groups is None else groups[chosen]
