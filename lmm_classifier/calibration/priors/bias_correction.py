"""Bias correction: probabilities whose mean per label is what it should be (Alexandari, Kundaje & Shrikumar, 2020).

One bias a label next to the temperature; see arXiv 1901.06852, "bias-corrected temperature scaling". Without it the
estimate of priors takes the systematic errors of the classifier for a change of the priors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import BoolArray, Float64Array, IntArray
from lmm_classifier.core.numerics import log_softmax

_STEPS, _STEP = 200, 0.5


@dataclass(frozen=True)
class BiasCorrection:
    """Biases that make the mean probability of each label, over held-out examples, its share of them.

    A label without a countable held-out example has no bias and takes no part: `is_measured` is False.
    """

    biases: Float64Array  # (C,) added to log-probabilities
    shares: Float64Array  # (C,) of the held-out examples; 0 where a label is not measured
    is_measured: BoolArray  # (C,)
    log_probabilities: Float64Array  # (n, C) of the held-out examples, corrected

    @classmethod
    def fit(cls, log_probabilities: Float64Array, label_ids: IntArray) -> BiasCorrection:
        """Fit to held-out examples.

        Args:
            log_probabilities: (n, C). A row whose own label is impossible, because it is the only example, is left out.
            label_ids: true labels, (n,).
        """
        countable = np.isfinite(log_probabilities[np.arange(len(label_ids)), label_ids])
        rows, labels = log_probabilities[countable], log_probabilities.shape[1]
        shares = np.bincount(label_ids[countable], minlength=labels) / max(len(rows), 1)
        biases, is_measured = np.zeros(labels), shares > 0
        for _ in range(_STEPS if len(rows) else 0):
            means = np.exp(log_softmax(rows + biases)).mean(axis=0)
            biases[is_measured] += _STEP * (np.log(shares[is_measured]) - np.log(means[is_measured]))
        return cls(biases, shares, is_measured, log_softmax(rows + biases))

    def correct(self, log_probabilities: Float64Array) -> Float64Array:
        """Return corrected log-probabilities (n, C)."""
        return log_softmax(log_probabilities + self.biases)
