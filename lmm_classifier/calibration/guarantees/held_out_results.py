"""What a calibration keeps of each held-out example: its confidence, whether it was right, and its familiarity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.core.arrays import Arrays, BoolArray, Float64Array, IntArray


@dataclass(frozen=True)
class HeldOutResults:
    """Results of n held-out examples, in one order; every threshold and every curve is made of them."""

    confidence: Float64Array  # (n,) probability of the most likely label, 0 to 1
    correct: BoolArray  # (n,) whether that label is the true one
    familiarity: Float64Array  # (n,) in robust standard deviations, higher is more familiar
    groups: IntArray | None = None  # (n,) numbers of the groups that were held out together; None: one by one

    @classmethod
    def of(cls, predictions: HeldOutPredictions, groups: IntArray | None = None) -> Self:
        """Keep what thresholds depend on; `groups` (N,) are those of the examples of the index."""
        grouped = None if groups is None else groups[predictions.rows]
        return cls(predictions.confidence, predictions.correct, predictions.familiarity, grouped)

    def __len__(self) -> int:
        return len(self.confidence)

    @property
    def accuracy(self) -> float:
        """Return the fraction whose most likely label is the true one, 0 to 1; 0 where there are none."""
        return float(self.correct.mean()) if len(self) else 0.0

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that rebuild it."""
        arrays = {"confidence": self.confidence, "correct": self.correct, "familiarity": self.familiarity}
        return arrays if self.groups is None else {**arrays, "groups": self.groups}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Rebuild it; raise KeyError where an array is missing, ValueError where one is impossible."""
        confidence = np.asarray(arrays["confidence"], np.float64)
        correct, familiarity = np.asarray(arrays["correct"]), np.asarray(arrays["familiarity"], np.float64)
        if correct.dtype != bool or confidence.ndim != 1 or not confidence.shape == correct.shape == familiarity.shape:
            raise ValueError(
                f"results of held-out examples of shapes {confidence.shape}, {correct.shape} and {familiarity.shape}"
            )
        if not ((confidence >= 0) & (confidence <= 1 + 1e-9)).all():
            raise ValueError("a confidence is not a probability")
        if not np.isfinite(familiarity).all():
            raise ValueError("familiarity holds numbers that are not finite")
        groups = np.asarray(arrays["groups"]) if "groups" in arrays else None
        if groups is not None and (groups.dtype.kind != "i" or groups.shape != confidence.shape):
            raise ValueError(f"expected a group number of each held-out example, got {groups.dtype} {groups.shape}")
        return cls(confidence, correct, familiarity, groups)
