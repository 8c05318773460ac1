"""The outlook of a request: what its thresholds do to the held-out examples, or why they cannot be guaranteed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.guarantees.held_out_results import HeldOutResults
from lmm_classifier.calibration.guarantees.risk_control import (
    NoGuarantee,
    RiskGuarantee,
    fixed_sequence_threshold,
    sgr_threshold,
)
from lmm_classifier.calibration.request import DEFAULT_CONFIDENCE_LEVEL, DEFAULT_KEEP_KNOWN, CalibrationRequest
from lmm_classifier.core.arrays import BoolArray
from lmm_classifier.core.errors import CalibrationError


@dataclass(frozen=True)
class Outlook:
    """Thresholds that a calibration would store, and the fractions (0 to 1) of images of known labels that they leave.

    Without a guarantee there is no confidence threshold, so nothing says how many images are accepted.
    """

    guarantee: RiskGuarantee | NoGuarantee
    familiarity_threshold: float
    unknown: float  # called unknown
    accepted: float | None  # given a label at once; None without a guarantee
    ambiguous: float | None  # their labels compete; None without a guarantee

    @classmethod
    def of(cls, calibration: Calibration, request: CalibrationRequest) -> Outlook:
        """Apply the thresholds of a request with a target precision to the held-out examples.

        Raises:
            CalibrationError: the request has no target precision, or impossible numbers.
        """
        request.check()
        if request.target_precision is None:
            raise CalibrationError("target_precision: expected a number between 0 and 1, such as 0.95")
        level = calibration.level_of_each(request.confidence_level or DEFAULT_CONFIDENCE_LEVEL)
        guarantee = guarantee_of(calibration.held_out, request.target_precision, level)
        ((outlook,),) = cls.of_each(calibration, [guarantee], [request.keep_known or DEFAULT_KEEP_KNOWN])
        return outlook

    @classmethod
    def of_each(
        cls, calibration: Calibration, guarantees: Sequence[RiskGuarantee | NoGuarantee], keep_known: Sequence[float]
    ) -> list[list[Self]]:
        """Apply each of some guarantees with each fraction of known images to keep: a list for each guarantee."""
        results, rows = calibration.held_out, list[list[Self]]()
        thresholds = [calibration.familiarity_threshold(keep) for keep in keep_known]
        familiar = [results.familiarity >= threshold for threshold in thresholds]
        for guarantee in guarantees:
            confident = None
            if isinstance(guarantee, RiskGuarantee):
                confident = results.confidence >= guarantee.threshold
            rows.append([cls._by(guarantee, *kept, confident) for kept in zip(thresholds, familiar)])
        return rows

    @classmethod
    def _by(
        cls, guarantee: RiskGuarantee | NoGuarantee, threshold: float, familiar: BoolArray, confident: BoolArray | None
    ) -> Self:
        total, known = max(len(familiar), 1), int(np.count_nonzero(familiar))
        unknown = (len(familiar) - known) / total
        if confident is None:
            return cls(guarantee, threshold, unknown, None, None)
        accepted = int(np.count_nonzero(familiar & confident))
        return cls(guarantee, threshold, unknown, accepted / total, (known - accepted) / total)


def guarantee_of(
    results: HeldOutResults, target_precision: float, confidence_level: float
) -> RiskGuarantee | NoGuarantee:
    """Return the guarantee that accepted answers are right at a rate of `target_precision`, or why there is none."""
    return fixed_sequence_threshold(
        results.confidence, results.correct, 1 - target_precision, 1 - confidence_level, results.groups
    )


def older_guarantee(results: HeldOutResults, request: CalibrationRequest) -> RiskGuarantee | NoGuarantee | None:
    """Return what selection with guaranteed risk would give; None where no target precision is asked for."""
    if request.target_precision is None or request.confidence_level is None:
        return None
    risk, delta = 1 - request.target_precision, 1 - request.confidence_level
    return sgr_threshold(results.confidence, results.correct, risk, delta)


def refusal(guarantee: NoGuarantee, target_precision: float, confidence_level: float) -> str:
    """Say why a precision cannot be guaranteed, and what it takes."""
    return (
        f"A precision of {target_precision:g} cannot be guaranteed (confidence level {confidence_level:g}): "
        f"{guarantee.reason}. It takes {guarantee.needed} examples without an error. Add images, or ask for less."
    )
