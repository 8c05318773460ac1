"""What the other examples say about each example that was held out: its label quality, and the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.core.arrays import BoolArray, Float64Array, IntArray


@dataclass(frozen=True)
class JudgedExamples:
    """n examples that were held out; no number for each label is kept."""

    rows: IntArray  # (n,)
    label_ids: IntArray  # (n,) their labels
    answers: IntArray  # (n,) most probable labels
    familiarity: Float64Array  # (n,)
    deficit: Float64Array  # (n,) 1 - label quality: near 1 the quality itself would lose the order of sound examples
    suggested: IntArray  # (n,) most probable other labels
    p_own: Float64Array  # (n,) probability of the label
    p_suggested: Float64Array  # (n,) of the suggested one

    @classmethod
    def of(cls, predictions: HeldOutPredictions) -> JudgedExamples:
        """Compute it from the mean probabilities of the experts; the last one, which is the neighbors, counts twice.

        The others all know an image by the mean of its label. A product of experts, as in the rule, is sure where they
        agree, also of a label that is wrong; their mean is a linear opinion pool (Stone, 1961). Of the two usual
        measures, 1 - p(own) finds labels that are wrong at random, and the margin finds labels that were confused with
        the most similar one.
        """
        experts = predictions.expert_log_probabilities
        probabilities = 2 * np.exp(experts[-1])
        for logs in experts[:-1]:
            probabilities += np.exp(logs)
        probabilities /= len(experts) + 1
        rows = np.arange(len(predictions.rows))
        own = probabilities[rows, predictions.label_ids].copy()
        probabilities[rows, predictions.label_ids] = -1
        suggested = probabilities.argmax(axis=1)
        p_suggested = probabilities[rows, suggested]
        return cls(
            predictions.rows,
            predictions.label_ids,
            np.asarray(predictions.log_probabilities.argmax(axis=1)),
            predictions.familiarity,
            (2 * (1 - own) + p_suggested - own) / 3,
            suggested,
            own,
            p_suggested,
        )

    @classmethod
    def join(cls, parts: Sequence[JudgedExamples]) -> JudgedExamples:
        """Concatenate parts, in order."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def correct(self) -> BoolArray:
        """Return whether the most probable label is that of the example, (n,)."""
        return np.asarray(self.answers == self.label_ids)
