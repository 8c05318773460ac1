"""The outlook of a request: what its thresholds do to the held-out examples, or why they cannot be guaranteed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.guarantees.held_out_results import HeldOutResults
from lmm_classifier.calibration.guarantees.risk_control import NoGuarantee, RiskGuarantee, fixed_sequence_threshold
from lmm_classifier.calibration.request import DEFAULT_CONFIDENCE_LEVEL, DEFAULT_KEEP_KNOWN, CalibrationRequest
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
        guarantee = guarantee_of(
            calibration.held_out, request.target_precision, request.confidence_level or DEFAULT_CONFIDENCE_LEVEL
        )
        return cls.by(calibration, guarantee, request.keep_known or DEFAULT_KEEP_KNOWN)

    @classmethod
    def by(cls, calibration: Calibration, guarantee: RiskGuarantee | NoGuarantee, keep_known: float) -> Outlook:
        """Apply a guarantee that is known, and the threshold that keeps a fraction of the known images."""
        results = calibration.held_out
        familiar = results.familiarity >= (threshold := calibration.familiarity_threshold(keep_known))
        unknown = _fraction(int((~familiar).sum()), len(results))
        if isinstance(guarantee, NoGuarantee):
            return cls(guarantee, threshold, unknown, None, None)
        confident = results.confidence >= guarantee.threshold
        accepted = _fraction(int(np.count_nonzero(familiar & confident)), len(results))
        ambiguous = _fraction(int(np.count_nonzero(familiar & ~confident)), len(results))
        return cls(guarantee, threshold, unknown, accepted, ambiguous)


def guarantee_of(
    results: HeldOutResults, target_precision: float, confidence_level: float
) -> RiskGuarantee | NoGuarantee:
    """Return the guarantee that accepted answers are right at a rate of `target_precision`, or why there is none."""
    return fixed_sequence_threshold(results.confidence, results.correct, 1 - target_precision, 1 - confidence_level)


def refusal(guarantee: NoGuarantee, target_precision: float, confidence_level: float) -> str:
    """Say why a precision cannot be guaranteed, and what it takes."""
    return (
        f"A precision of {target_precision:g} cannot be guaranteed (confidence level {confidence_level:g}): "
        f"{guarantee.reason}. It takes {guarantee.needed} examples without an error. Add images, or ask for less."
    )


def _fraction(count: int, total: int) -> float:
    return count / total if total else 0.0
