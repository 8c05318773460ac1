"""Roll-up: the coarse labels of an image where no label is sure enough, each level with a threshold of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.core.datatypes import Classification, CoarseCandidate
from lmm_classifier.core.label_hierarchy import CoarseLevel, LabelHierarchy

logger: logging.Logger = logging.getLogger(__name__)

_ASK = "Run `lmm-classifier calibrate --target-precision 0.95` to have coarse answers."


@dataclass(frozen=True)
class RollUp:
    """The hierarchy above the labels of one version of an index, and the levels that may answer."""

    hierarchy: LabelHierarchy  # of the labels that may be answered
    levels: tuple[CoarseLevel, ...]  # with a threshold, the finest first
    thresholds: Mapping[int, float]  # of the levels, by depth
    height: int  # of the hierarchy that was calibrated; the finest level is level 1

    @classmethod
    def of(
        cls,
        hierarchy: LabelHierarchy | None,
        stored: Calibration | None,
        own: Sequence[str],
        labels: Sequence[str],
        former: RollUp | None = None,
    ) -> Self | None:
        """Return what rolls up; None where no label has a coarse label above it.

        Without thresholds that were calibrated for this very hierarchy, no level answers.

        Args:
            hierarchy: over the labels of the index, and perhaps others.
            stored: the calibration of the index.
            own: the labels of the index.
            labels: those that may be answered.
            former: that of a former version of the index: what was logged then is not logged again.
        """
        whole = hierarchy.of_labels(own) if hierarchy is not None else None
        if hierarchy is None or whole is None or not whole.height:
            return None
        for note in hierarchy.notes(own) if former is None else ():
            logger.warning("Hierarchy: %s.", note)
        chosen = whole.of_labels(labels)
        thresholds = coarse_thresholds(stored, whole)
        is_news = former is None or former.thresholds
        if is_news and not thresholds and (why := _why_none(stored, whole)):
            logger.warning("No coarse label is answered: %s %s", why, _ASK)
        levels = [level for level in chosen.levels(labels) if level.depth in thresholds]
        height = stored.hierarchy.height if stored and stored.hierarchy else whole.height
        return cls(chosen, tuple(levels), thresholds, height)

    def without_levels(self) -> RollUp:
        """Return the same where no coarse label is answered; results still have the way to their label."""
        return replace(self, levels=(), thresholds={})

    def candidates(self, probabilities: Float64Array) -> list[tuple[CoarseCandidate, ...]]:
        """Return for probabilities of the labels (n, C) the best coarse label of each level, the finest first."""
        rows: list[list[CoarseCandidate]] = [[] for _ in probabilities]
        for level in self.levels:
            for row, best, score in zip(rows, *(values.tolist() for values in level.best(probabilities))):
                if best >= 0:
                    row.append(CoarseCandidate(self.hierarchy.path(level.names[best]), score))
        return [tuple(row) for row in rows]

    def answered(self, result: Classification, coarse: CoarseCandidate | None = None) -> Classification:
        """Return a result with its way from the root: that of its label, or of a coarse label that takes its place."""
        if coarse is not None:
            level = self.height - len(coarse.path) + 1
            return replace(result, label=coarse.label, score=coarse.score, label_path=coarse.path, level=level)
        if result.is_unknown:
            return replace(result, label_path=())
        return replace(result, label_path=self.hierarchy.path(result.label), level=0)


def coarse_thresholds(stored: Calibration | None, hierarchy: LabelHierarchy | None) -> dict[int, float]:
    """Return the thresholds of coarse labels by depth, those of this hierarchy alone; none where it has changed."""
    fit = stored.hierarchy if stored is not None else None
    if fit is None or hierarchy is None or not fit.matches(hierarchy):
        return {}
    return dict(fit.thresholds)


def _why_none(stored: Calibration | None, hierarchy: LabelHierarchy) -> str:
    """Return why no level has a threshold; empty where that was asked for and is not possible."""
    fit = stored.hierarchy if stored is not None else None
    if fit is None:
        return "the index was not calibrated with the hierarchy."
    if not fit.matches(hierarchy):
        return "labels stand elsewhere in the hierarchy than when the index was calibrated."
    asked = stored.request.target_precision if stored and stored.request else None
    return "" if asked else "no target precision was asked for."  # `calibrate` said where there is no guarantee
