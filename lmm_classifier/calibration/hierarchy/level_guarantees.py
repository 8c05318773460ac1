"""One guarantee for each level of a hierarchy: labels first, then coarse labels for the examples that are left.

A single threshold for all levels would hide that the coarse answers are the bad ones: they are given where labels
compete. So each level is tested on the held-out examples that all levels below leave open, and the probability that a
guarantee does not hold is shared among the levels.

The same examples choose which of them the next level is tested on. Its guarantee holds all the same, for independent
examples. Take their confidences as given, so that only their true labels are random, and only through these are
answers right or wrong:

1. For any fixed thresholds of the levels below, the test of a level passes wrongly with a probability of at most its
   delta: its order is fixed by the confidences, and a sum of independent errors of a mean rate above the risk is small
   no more often than a binomial one (Hoeffding, 1956, "On the distribution of the number of successes in independent
   trials", Ann. Math. Statist. 27). Whether it passes depends on the examples that are left open alone, and fewer
   errors there help it.
2. The thresholds below are these ones where their tests passed on the examples that they answer, and failed at the next
   step, which takes in some that are left open. More errors there help that.
3. A coarse label stands above the best label, so a right label makes the coarse ones right, and for each example more
   errors of one level never go with fewer of another. By Harris' inequality (1960) the events of 1 and 2 are then not
   positively correlated. So P(both) <= delta * P(these thresholds); the sum over all thresholds is at most delta, and
   the sum over all levels is at most the delta that was asked for.

The rate is that of images with the confidences of the examples. In 2,000 draws with known probabilities, in the least
favorable case (every answer of every level wrong a little more often than the risk), 6.4% broke a guarantee of 90%, by
the rate of all images too. With groups the guarantee is as approximate as `effective_size`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.guarantees.held_out_results import HeldOutResults
from lmm_classifier.calibration.guarantees.outlook import guarantee_of, refusal
from lmm_classifier.calibration.guarantees.risk_control import NEVER, NoGuarantee, RiskGuarantee
from lmm_classifier.calibration.hierarchy.hierarchy_fit import HierarchyFit
from lmm_classifier.calibration.request import DEFAULT_CONFIDENCE_LEVEL, DEFAULT_KEEP_KNOWN, CalibrationRequest
from lmm_classifier.core.arrays import BoolArray
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.neighbors.novelty import keep_known_threshold

Guarantee = RiskGuarantee | NoGuarantee


@dataclass(frozen=True)
class LevelGuarantees:
    """The guarantee of each level, over the examples that the levels below leave open, and what is answered."""

    labels: Guarantee
    coarse: Mapping[int, Guarantee]  # by depth, the finest first
    answered: tuple[float, ...]  # fraction (0 to 1) of all examples that each level answers: labels, then `coarse`;
    # an example that is called unknown is answered by none
    wrong: tuple[float, ...]  # fraction (0 to 1) of these answers that are wrong, 0 where there are none

    @property
    def of_labels(self) -> RiskGuarantee | None:
        """Return the guarantee of labels, None where they have none."""
        return self.labels if isinstance(self.labels, RiskGuarantee) else None

    @property
    def threshold(self) -> float:
        """Return the threshold of labels; one that no probability reaches where they have no guarantee."""
        return self.of_labels.threshold if self.of_labels else NEVER

    @property
    def thresholds(self) -> dict[int, float]:
        """Return the thresholds of coarse labels that have a guarantee, by depth."""
        return {
            depth: guarantee.threshold
            for depth, guarantee in self.coarse.items()
            if isinstance(guarantee, RiskGuarantee)
        }


def guarantee_levels(
    results: HeldOutResults,
    fit: HierarchyFit | None,
    target_precision: float,
    confidence_level: float,
    least_familiarity: float = -np.inf,
) -> LevelGuarantees:
    """Find a threshold for each level at which its answers are right at a rate of `target_precision`.

    Args:
        results: of n held-out examples.
        fit: what the same examples say of the levels of a hierarchy; None: labels alone.
        target_precision: rate of right answers among those of each level, 0 to 1.
        confidence_level: probability that all guarantees hold, 0 to 1.
        least_familiarity: an example below it is called unknown. The thresholds do not depend on it.
    """
    level = confidence_level if fit is None else fit.level_of_each(confidence_level)
    labels = guarantee_of(results, target_precision, level)
    open_rows, familiar = np.ones(len(results), np.bool_), results.familiarity >= least_familiarity
    answered, wrong, coarse = list[float](), list[float](), dict[int, Guarantee]()

    def close(rows: BoolArray, correct: BoolArray) -> None:
        given = rows & familiar
        answered.append(float(given.mean()) if len(given) else 0.0)
        wrong.append(float((~correct)[given].mean()) if given.any() else 0.0)
        open_rows[rows] = False

    reaches = results.confidence >= (labels.threshold if isinstance(labels, RiskGuarantee) else NEVER)
    close(reaches, results.correct)
    for number, depth in enumerate(fit.depths if fit is not None else ()):
        assert fit is not None
        confidence, correct = fit.results.confidence[number], fit.results.correct[number]
        tested = open_rows & ~np.isnan(confidence)
        groups = None if results.groups is None else results.groups[tested]
        part = HeldOutResults(confidence[tested], correct[tested], results.familiarity[tested], groups)
        coarse[depth] = found = guarantee_of(part, target_precision, level)
        least = found.threshold if isinstance(found, RiskGuarantee) else NEVER
        close(tested & (np.nan_to_num(confidence) >= least), correct)
    return LevelGuarantees(labels, coarse, tuple(answered), tuple(wrong))


def required_guarantees(
    results: HeldOutResults, fit: HierarchyFit | None, request: CalibrationRequest
) -> LevelGuarantees | None:
    """Return the guarantees that a request asks for, None where it asks for none.

    Raises:
        CalibrationError: no level has one; the message says what it takes.
    """
    if request.target_precision is None:
        return None
    level = request.confidence_level or DEFAULT_CONFIDENCE_LEVEL
    keep = request.keep_known or DEFAULT_KEEP_KNOWN
    least = keep_known_threshold(np.sort(results.familiarity), keep) if len(results) else -np.inf
    found = guarantee_levels(results, fit, request.target_precision, level, least)
    if isinstance(found.labels, NoGuarantee) and not found.thresholds:
        raise CalibrationError(f"{refusal(found.labels, request.target_precision, level)} No calibration was stored.")
    return found


def with_guarantees(calibration: Calibration, found: LevelGuarantees | None) -> Calibration:
    """Return a calibration with the thresholds of some guarantees; None: with no threshold."""
    fit = calibration.hierarchy
    return replace(
        calibration,
        confidence_threshold=found.threshold if found else None,
        hierarchy=replace(fit, thresholds=found.thresholds if found else {}) if fit else None,
    )
