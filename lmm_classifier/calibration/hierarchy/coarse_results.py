"""What a calibration keeps of held-out examples at each level of a hierarchy above the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.core.arrays import Arrays, BoolArray, Float64Array
from lmm_classifier.core.label_hierarchy import CoarseLevel

_BLOCK = 1024  # examples whose probabilities are added up at a time


@dataclass(frozen=True)
class CoarseResults:
    """Results of n held-out examples at each of L levels, the finest level first, in the order of `HeldOutResults`."""

    confidence: Float64Array  # (L, n) probability of the best coarse label, 0 to 1; nan where a label alone is better
    correct: BoolArray  # (L, n) whether it stands above the true label

    @classmethod
    def of(cls, predictions: HeldOutPredictions, levels: Sequence[CoarseLevel]) -> Self:
        """Add up the probabilities of the labels below each coarse label."""
        count = len(predictions.label_ids)
        confidence, correct = np.full((len(levels), count), np.nan), np.zeros((len(levels), count), np.bool_)
        for start in range(0, count, _BLOCK):
            rows = slice(start, start + _BLOCK)
            probabilities, truth = np.exp(predictions.log_probabilities[rows]), predictions.label_ids[rows]
            for number, level in enumerate(levels):
                best, probability = level.best(probabilities)
                confidence[number, rows] = np.where(best >= 0, probability, np.nan)
                correct[number, rows] = best == level.members[truth]
        return cls(confidence, correct)

    def __len__(self) -> int:
        return len(self.confidence)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that rebuild it."""
        return {"confidence": self.confidence, "correct": self.correct}

    @classmethod
    def from_arrays(cls, arrays: Arrays, levels: int, count: int) -> Self:
        """Rebuild it; raise KeyError where an array is missing, ValueError where one is impossible."""
        confidence, correct = np.asarray(arrays["confidence"], np.float64), np.asarray(arrays["correct"])
        if correct.dtype != bool or not confidence.shape == correct.shape == (levels, count):
            raise ValueError(f"results of coarse labels of shapes {confidence.shape} and {correct.shape}")
        given = confidence[~np.isnan(confidence)]
        if not ((given >= 0) & (given <= 1)).all():
            raise ValueError("the confidence of a coarse label is not a probability")
        return cls(confidence, correct)
