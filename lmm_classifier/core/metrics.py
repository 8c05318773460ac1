"""Measures of a classifier that may be unsure and may refuse."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]

BINS = 15  # of the reliability diagram, equally filled


def wilson_interval(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927): sensible for few trials and near 0 and 1."""
    if count == 0:
        return 0.0, 1.0
    share = right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Verdicts of like confidence: how many, their mean confidence, and the share that is right."""

    count: int
    confidence: float
    accuracy: float


def reliability(confidence: Doubles, right: Flags, bins: int = BINS) -> list[ReliabilityBin]:
    """Sort verdicts (n,) by confidence into at most `bins` equally filled bins, the least sure first."""
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, min(bins, max(len(order), 1))) if len(part)]
    return [ReliabilityBin(len(part), float(confidence[part].mean()), float(right[part].mean())) for part in parts]


def expected_calibration_error(confidence: Doubles, right: Flags, bins: int = BINS) -> float:
    """Mean distance between confidence and accuracy over equally filled bins, 0..1 (arXiv 1706.04599, eq. 3)."""
    found = reliability(confidence, right, bins)
    total = sum(part.count for part in found)
    return sum(part.count * abs(part.accuracy - part.confidence) for part in found) / total if total else 0.0


def brier_score(confidence: Doubles, right: Flags) -> float:
    """Mean squared distance between the confidence in the answer and whether it is right, 0..1, lower is better."""
    return float(np.square(confidence - right).mean()) if len(right) else 0.0


def risk_coverage(confidence: Doubles, right: Flags) -> tuple[Doubles, Doubles]:
    """Coverage and risk (n,): the share of verdicts answered, surest first, and the share of errors among them.

    Verdicts of equal confidence are answered together: each counts with their mean.
    """
    if not len(right):
        return np.empty(0), np.empty(0)
    order = np.argsort(-confidence, kind="stable")
    wrong = (~right[order]).astype(np.float64)
    _, group, size = np.unique(-confidence[order], return_inverse=True, return_counts=True)
    wrong = (np.bincount(group, wrong) / size)[group]
    answered = np.arange(1, len(order) + 1)
    return answered / len(order), np.cumsum(wrong) / answered


def area_under_risk_coverage(confidence: Doubles, right: Flags) -> float:
    """AURC, the mean risk over all coverages, 0..1, lower is better (Geifman, Uziel & El-Yaniv, arXiv 1805.08206)."""
    risk = risk_coverage(confidence, right)[1]
    return float(risk.mean()) if len(risk) else 0.0


def coverage_at_risk(confidence: Doubles, right: Flags, risk: float) -> float:
    """The largest share of verdicts, surest first, whose errors stay within `risk`; the best in hindsight."""
    coverage, risks = risk_coverage(confidence, right)
    kept = coverage[risks <= risk]
    return float(kept.max()) if len(kept) else 0.0


def auroc(known: Doubles, unknown: Doubles) -> float:
    """Probability that a known picture is more familiar than an unknown one, ties counting half; 0.5 is chance."""
    if not len(known) or not len(unknown):
        return float("nan")
    ranks = _mean_ranks(np.concatenate([known, unknown]))[: len(known)]
    return float((ranks.sum() - len(known) * (len(known) + 1) / 2) / (len(known) * len(unknown)))


def mann_whitney_z(first: Doubles, second: Doubles) -> float:
    """How much larger the first numbers are, in standard errors of the rank sum (Mann & Whitney, 1947)."""
    m, n = len(first), len(second)
    if not m or not n:
        return 0.0
    return (auroc(first, second) - 0.5) * m * n / math.sqrt(m * n * (m + n + 1) / 12)


def false_positives_at(known: Doubles, unknown: Doubles, keep: float = 0.95) -> float:
    """Share of unknown pictures that pass where at least the share `keep` of the known does: FPR at that TPR."""
    if not len(known) or not len(unknown):
        return float("nan")
    threshold = np.sort(known)[len(known) - math.ceil(keep * len(known))]
    return float((unknown >= threshold).mean())


def correct_at_false_positives(known: Doubles, right: Flags, unknown: Doubles, rate: float) -> float:
    """CCR: share of the known that passes and is right where at most `rate` of the unknown pass (arXiv 1811.04110)."""
    if not len(known) or not len(unknown):
        return float("nan")
    allowed = math.floor(rate * len(unknown))
    limit = np.sort(unknown)[::-1][allowed] if allowed < len(unknown) else -np.inf
    return float(((known > limit) & right).mean())


def average_precision(scores: Doubles, relevant: Flags) -> float:
    """Mean precision at each relevant item of the ranking by `scores`, best first, 0..1."""
    order = np.argsort(-scores, kind="stable")
    hits = relevant[order]
    if not hits.any():
        return 0.0
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


def _mean_ranks(values: Doubles) -> Doubles:
    _, place, size = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(size)
    return np.asarray((last - (size - 1) / 2)[place])
