"""Measures of a classifier that gives a confidence and may answer "unknown"."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import BoolArray, Float64Array, IntArray

_Z = 1.96  # 97.5% quantile of the normal distribution
BINS = 15  # bins of the reliability diagram, equally filled


def wilson_interval(right: float, count: float, z: float = _Z) -> tuple[float, float]:
    """Return the 95% interval of a proportion (Wilson, 1927); it holds for few trials and near 0 and 1."""
    if count == 0:
        return 0.0, 1.0
    fraction = right / count
    middle = (fraction + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(fraction * (1 - fraction) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def clustered_interval(right: BoolArray, groups: IntArray) -> tuple[float, float]:
    """Return the 95% interval of a proportion whose trials (n,) come in groups (n,), such as images of one object.

    The interval of Wilson, for as many independent trials as have the variance between the groups, and for the few
    degrees of freedom of few groups (Korn & Graubard, 1998). Of one group it is 0 to 1.
    """
    _, place = np.unique(groups, return_inverse=True)
    count, clusters = len(right), int(place.max(initial=-1)) + 1
    if clusters < 2:
        return 0.0, 1.0
    fraction = float(right.mean())
    sums = np.bincount(place, right - fraction)
    variance = clusters / (clusters - 1) * float(np.square(sums).sum()) / count**2
    # without any variance between them, each group is one trial
    trials = min(float(count), fraction * (1 - fraction) / variance) if variance > 0 else float(clusters)
    trials *= (_Z / _student(clusters - 1)) ** 2
    return wilson_interval(fraction * trials, trials)


def _student(freedom: int) -> float:
    """Return the 97.5% quantile of Student's t (Abramowitz & Stegun 26.7.5)."""
    z = _Z
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Results of similar confidence: their number, their mean confidence, and the fraction that is right."""

    count: int
    confidence: float
    accuracy: float


def reliability(confidence: Float64Array, right: BoolArray, bins: int = BINS) -> list[ReliabilityBin]:
    """Sort results (n,) by confidence into at most `bins` equally filled bins, the least confident first."""
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, min(bins, max(len(order), 1))) if len(part)]
    return [ReliabilityBin(len(part), float(confidence[part].mean()), float(right[part].mean())) for part in parts]


def expected_calibration_error(confidence: Float64Array, right: BoolArray, bins: int = BINS) -> float:
    """Return the mean distance between confidence and accuracy over equally filled bins, 0 to 1, lower is better.

    This is ECE of arXiv 1706.04599, equation 3.
    """
    parts = reliability(confidence, right, bins)
    total = sum(part.count for part in parts)
    return sum(part.count * abs(part.accuracy - part.confidence) for part in parts) / total if total else 0.0


def brier_score(confidence: Float64Array, right: BoolArray) -> float:
    """Return the mean squared distance between confidence and correctness (0 or 1), 0 to 1, lower is better."""
    return float(np.square(confidence - right).mean()) if len(right) else 0.0


def risk_coverage(confidence: Float64Array, right: BoolArray) -> tuple[Float64Array, Float64Array]:
    """Return coverage (n,) and risk (n,) as results are answered, the most confident first.

    Coverage is the fraction of results answered, risk the fraction of errors among them. Results of equal confidence
    are answered together: each counts with their mean error.
    """
    if not len(right):
        return np.empty(0), np.empty(0)
    order = np.argsort(-confidence, kind="stable")
    wrong = (~right[order]).astype(np.float64)
    _, group, size = np.unique(-confidence[order], return_inverse=True, return_counts=True)
    wrong = (np.bincount(group, wrong) / size)[group]
    answered = np.arange(1, len(order) + 1)
    return answered / len(order), np.cumsum(wrong) / answered


def area_under_risk_coverage(confidence: Float64Array, right: BoolArray) -> float:
    """Return AURC, the mean risk over all coverages, 0 to 1, lower is better.

    AURC: Geifman, Uziel & El-Yaniv, arXiv 1805.08206.
    """
    risk = risk_coverage(confidence, right)[1]
    return float(risk.mean()) if len(risk) else 0.0


def coverage_at_risk(confidence: Float64Array, right: BoolArray, risk: float) -> float:
    """Return the largest coverage whose risk is at most `risk`, 0 to 1, higher is better.

    It is optimistic: the threshold is chosen on the same results.
    """
    coverage, risks = risk_coverage(confidence, right)
    allowed = coverage[risks <= risk]
    return float(allowed.max()) if len(allowed) else 0.0


def auroc(known: Float64Array, unknown: Float64Array) -> float:
    """Return the probability that a known image is more familiar than an unknown one, 0 to 1, higher is better.

    Ties count half; 0.5 is chance; NaN where either is empty.
    """
    if not len(known) or not len(unknown):
        return float("nan")
    ranks = _mean_ranks(np.concatenate([known, unknown]))[: len(known)]
    return float((ranks.sum() - len(known) * (len(known) + 1) / 2) / (len(known) * len(unknown)))


def mann_whitney_z(first: Float64Array, second: Float64Array) -> float:
    """Return how much larger the first numbers are, in standard errors of the rank sum (Mann & Whitney, 1947)."""
    m, n = len(first), len(second)
    if not m or not n:
        return 0.0
    return (auroc(first, second) - 0.5) * m * n / math.sqrt(m * n * (m + n + 1) / 12)


def fpr_at_tpr(known: Float64Array, unknown: Float64Array, keep: float = 0.95) -> float:
    """Return FPR at a TPR of `keep`, 0 to 1, lower is better.

    It is the fraction of unknown images that pass a threshold at which at least the fraction `keep` of the known
    images pass.
    """
    if not len(known) or not len(unknown):
        return float("nan")
    threshold = np.sort(known)[len(known) - math.ceil(keep * len(known))]
    return float((unknown >= threshold).mean())


def ccr_at_fpr(known: Float64Array, right: BoolArray, unknown: Float64Array, rate: float) -> float:
    """Return CCR at an FPR of `rate`, 0 to 1, higher is better (arXiv 1811.04110).

    It is the fraction of known images that pass and are right, at a threshold that at most the fraction `rate` of the
    unknown images pass.
    """
    if not len(known) or not len(unknown):
        return float("nan")
    allowed = math.floor(rate * len(unknown))
    limit = np.sort(unknown)[::-1][allowed] if allowed < len(unknown) else -np.inf
    return float(((known > limit) & right).mean())


def average_precision(scores: Float64Array, relevant: BoolArray) -> float:
    """Return the mean precision at each relevant item of the ranking by `scores`, best first, 0 to 1."""
    order = np.argsort(-scores, kind="stable")
    hits = relevant[order]
    if not hits.any():
        return 0.0
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


def _mean_ranks(values: Float64Array) -> Float64Array:
    _, place, size = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(size)
    return np.asarray((last - (size - 1) / 2)[place])
