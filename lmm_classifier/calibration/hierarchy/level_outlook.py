"""The outlook of guarantees at each level of a hierarchy: what each level would answer, and how often it is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.guarantees.held_out_results import HeldOutResults
from lmm_classifier.calibration.guarantees.outlook import Outlook
from lmm_classifier.calibration.guarantees.risk_control import NEVER
from lmm_classifier.calibration.hierarchy.hierarchy_fit import HierarchyFit
from lmm_classifier.calibration.hierarchy.level_guarantees import LevelGuarantees
from lmm_classifier.core.arrays import BoolArray


@dataclass(frozen=True, slots=True)
class LevelOutlook:
    """What one level answers of the held-out examples that are familiar enough and that the levels below leave open."""

    level: int  # 0: labels; 1: the finest coarse labels
    threshold: float | None  # probability from which it answers, 0 to 1; None: it has no guarantee, so it answers none
    answered: float  # fraction of all held-out examples, 0 to 1
    right: float | None  # fraction of these answers, 0 to 1; None where there are none


@dataclass(frozen=True)
class TargetOutlook:
    """What targets would give: the outlook of labels, and what the levels above answer where labels compete."""

    of_labels: Outlook
    levels: Sequence[LevelOutlook]  # labels first; empty without a hierarchy
    is_guaranteed: bool  # whether labels or a level has a guarantee, so that the targets can be stored

    @classmethod
    def of_each(
        cls, calibration: Calibration, guarantees: Sequence[LevelGuarantees], keep_known: Sequence[float]
    ) -> list[list[Self]]:
        """Apply each of some guarantees with each fraction of known images to keep: a list for each guarantee."""
        of_labels = Outlook.of_each(calibration, [found.labels for found in guarantees], keep_known)
        return [
            [
                cls(outlook, levels, found.of_labels is not None or bool(found.thresholds))
                for outlook, levels in zip(outlooks, _levels(calibration, found, keep_known), strict=True)
            ]
            for found, outlooks in zip(guarantees, of_labels, strict=True)
        ]

    @property
    def accepted(self) -> float | None:
        """Return the fraction (0 to 1) that gets a label at once; None where nothing is guaranteed."""
        return 0.0 if self.of_labels.accepted is None and self.is_guaranteed else self.of_labels.accepted

    @property
    def coarse(self) -> float | None:
        """Return the fraction (0 to 1) that gets a coarse label; None where nothing is guaranteed."""
        return sum(level.answered for level in self.levels[1:]) if self.is_guaranteed else None

    @property
    def ambiguous(self) -> float | None:
        """Return the fraction (0 to 1) whose labels compete at all levels; None where nothing is guaranteed."""
        if not self.is_guaranteed:
            return None
        competing = self.of_labels.ambiguous
        return max((1 - self.of_labels.unknown if competing is None else competing) - (self.coarse or 0.0), 0.0)


def _levels(
    calibration: Calibration, found: LevelGuarantees, keep_known: Sequence[float]
) -> Iterator[Sequence[LevelOutlook]]:
    fit, results = calibration.hierarchy, calibration.held_out
    if fit is None:
        yield from ([] for _ in keep_known)
        return
    thresholds = [found.threshold if found.of_labels else None, *(found.thresholds.get(depth) for depth in fit.depths)]
    answers = [*_answers(results, fit, found)]
    for keep in keep_known:
        familiar: BoolArray = results.familiarity >= calibration.familiarity_threshold(keep)
        yield [
            _outlook(number, threshold, familiar & answered, correct)
            for number, (threshold, (answered, correct)) in enumerate(zip(thresholds, answers, strict=True))
        ]


def _answers(
    results: HeldOutResults, fit: HierarchyFit, found: LevelGuarantees
) -> Iterator[tuple[BoolArray, BoolArray]]:
    """Yield for each level the examples that it answers, (n,), and whether its answers to all are right, (n,)."""
    answered: BoolArray = results.confidence >= found.threshold
    yield answered, results.correct
    is_open = ~answered
    for number, depth in enumerate(fit.depths):
        confidence = np.nan_to_num(fit.results.confidence[number], nan=-1.0)  # nan: no coarse label is the best answer
        answered = is_open & (confidence >= found.thresholds.get(depth, NEVER))
        yield answered, fit.results.correct[number]
        is_open &= ~answered


def _outlook(level: int, threshold: float | None, answered: BoolArray, correct: BoolArray) -> LevelOutlook:
    right = float(correct[answered].mean()) if answered.any() else None
    return LevelOutlook(level, threshold, float(np.count_nonzero(answered)) / max(len(answered), 1), right)
