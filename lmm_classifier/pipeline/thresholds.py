"""The thresholds of a classifier, resolved once, each with the source of its value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.conformal import conformal_threshold
from lmm_classifier.calibration.request import DEFAULT_KEEP_KNOWN, CalibrationRequest
from lmm_classifier.neighbors.config import RetrievalConfig

DEFAULT_CONFIDENCE = 0.7  # accepted at once where nobody calibrated: wrong at most three times in ten

CONFIGURATION, DEFAULT = "configuration", "default"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A number that a score is compared with (`>=`), and where it comes from."""

    value: float  # nan: not known before the rule is fitted
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {"value": None if math.isnan(self.value) else self.value, "source": self.source}


UNFITTED = Threshold(math.nan, "fitted when the index is opened")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """All thresholds of a classifier.

    `statistic` names what `novelty` is compared with: the familiarity, or the cosine similarity of the nearest example.
    """

    confidence: Threshold  # 0 to 1: accepted at once at or above it
    novelty: Threshold  # unknown below it
    statistic: Literal["familiarity", "similarity"] = "familiarity"
    keep_known: Threshold | None = None  # 0 to 1, behind a fitted `novelty`; None where that was set by hand
    prediction_set: Threshold | None = None  # 0 to 1: labels at or above it are in the set; None: no sets asked for
    coarse: Mapping[int, Threshold] = field(default_factory=dict)  # 0 to 1: of coarse labels, by their depth
    height: int = 0  # of the hierarchy of these: depth 1 is its coarsest level, which results call level `height`

    def with_coarse(self, values: Mapping[int, float], stored: Calibration | None) -> Thresholds:
        """Return the same with thresholds of coarse labels, by depth, from the stored calibration.

        They are certified for images that its own threshold of labels leaves open, so not with another one.
        """
        source = _source(stored) + _certificate(stored)
        if self.confidence.source == CONFIGURATION and "certified" not in source:
            source += ", not certified with this confidence_threshold"
        height = stored.hierarchy.height if stored is not None and stored.hierarchy is not None else 0
        return replace(self, coarse={depth: Threshold(value, source) for depth, value in values.items()}, height=height)

    @property
    def familiarity_threshold(self) -> float | None:
        """Return the familiarity below which an image is unknown; None where that is another number or not finite."""
        is_familiarity = self.statistic == "familiarity" and math.isfinite(self.novelty.value)
        return self.novelty.value if is_familiarity else None

    @classmethod
    def resolve(
        cls,
        config: RetrievalConfig,
        calibration: Calibration | None,
        stored: Calibration | None = None,
        request: CalibrationRequest | None = None,
    ) -> Thresholds:
        """Resolve the thresholds: the configuration comes first, then the stored calibration, then the default.

        Args:
            config: may set them by hand.
            calibration: the one in use, stored or just fitted: it knows what is familiar. None: it is fitted when the
                index is opened, and what depends on it is nan until then.
            stored: the calibration of the index, if it has one that fits.
            request: what a calibration that does not fit was asked for: its `keep_known` is used all the same.
        """
        prediction_set = None
        if config.prediction_set_alpha is not None:
            prediction_set = UNFITTED
            if calibration is not None:
                value = conformal_threshold(calibration.conformity_scores, config.prediction_set_alpha)
                prediction_set = Threshold(value, _source(calibration))
        confidence = _first(
            (config.confidence_threshold, CONFIGURATION),
            (stored.confidence_threshold if stored else None, _source(stored) + _certificate(stored)),
            (DEFAULT_CONFIDENCE, DEFAULT),
        )
        if config.open_set_threshold is not None:
            by_hand = Threshold(config.open_set_threshold, CONFIGURATION)
            return cls(confidence, by_hand, "similarity", None, prediction_set)
        if config.familiarity_threshold is not None:
            by_hand = Threshold(config.familiarity_threshold, CONFIGURATION)
            return cls(confidence, by_hand, "familiarity", None, prediction_set)
        keep_known = _first(
            (config.keep_known, CONFIGURATION),
            (stored.keep_known if stored else None, _source(stored)),
            (request.keep_known if request else None, "asked for by a former calibration"),
            (DEFAULT_KEEP_KNOWN, DEFAULT),
        )
        fitted = UNFITTED
        if calibration is not None:
            fitted = Threshold(calibration.familiarity_threshold(keep_known.value), _source(calibration))
        return cls(confidence, fitted, "familiarity", keep_known, prediction_set)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; the unknown threshold under the name of its configuration key.

        `coarse_threshold_1` is that of level 1, the finest coarse labels, as results count them.
        """
        novelty = "familiarity_threshold" if self.statistic == "familiarity" else "open_set_threshold"
        by_level = {self.height - depth + 1: self.coarse[depth] for depth in sorted(self.coarse, reverse=True)}
        coarse = {f"coarse_threshold_{level}": threshold for level, threshold in by_level.items()}
        named = {"keep_known": self.keep_known, "prediction_set_threshold": self.prediction_set, **coarse}
        return {
            "confidence_threshold": self.confidence.to_dict(),
            novelty: self.novelty.to_dict(),
            **{name: threshold.to_dict() for name, threshold in named.items() if threshold is not None},
        }


def _source(calibration: Calibration | None) -> str:
    if calibration is None:
        return ""
    return f"calibration of {calibration.date}" if calibration.date else "fitted when the index was opened"


def _certificate(stored: Calibration | None) -> str:
    return ", not certified" if stored is not None and stored.not_certified else ""


def _first(*values: tuple[float | None, str]) -> Threshold:
    """Return the first threshold that has a value."""
    return next(Threshold(value, source) for value, source in values if value is not None)
