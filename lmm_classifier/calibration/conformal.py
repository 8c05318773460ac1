"""Conformal prediction sets: the labels that together contain the true one with a chosen probability."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lmm_classifier.core.arrays import Float64Array, IntArray


def conformal_threshold(conformity_scores: Float64Array, alpha: float) -> float:
    """Return the probability from which a label belongs to the prediction set.

    Split conformal prediction with the score 1 - p, the LAC method (Sadinle, Lei & Wasserman, arXiv 1609.00451). The
    set contains the true label with probability 1 - alpha for new images that are exchangeable with the examples.

    Args:
        conformity_scores: probabilities of the true labels of held-out examples, (n,) ascending.
        alpha: accepted probability of a set without the true label, 0 to 1.
    """
    rank = math.floor(alpha * (len(conformity_scores) + 1))
    return float(conformity_scores[rank - 1]) if rank >= 1 else 0.0


def prediction_set(
    probabilities: Float64Array, order: IntArray, threshold: float, names: Sequence[str]
) -> tuple[str, ...]:
    """Return the labels of one image whose probability reaches `threshold`, most likely first.

    The most likely label is always in the set, so that no set is empty.

    Args:
        probabilities: of every label, (C,).
        order: label numbers by falling probability, (C,).
        threshold: see `conformal_threshold`.
        names: of the labels, C of them.
    """
    return tuple(names[label] for rank, label in enumerate(order) if rank == 0 or probabilities[label] >= threshold)
