"""How frequent each label is among new images, estimated from their probabilities alone, behind a gate.

The estimate is that of Saerens, Latinne & Decaestecker (2002, "Adjusting the outputs of a classifier to new a priori
probabilities", Neural Computation 14(1)), from bias-corrected probabilities, with one pseudo-count a label. The gate
opens where the priors explain the new images better than they ever explain as many held-out examples, whose priors are
known to be those of the dataset. Without correction and gate the estimate does harm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmm_classifier.calibration.priors.bias_correction import BiasCorrection
from lmm_classifier.core.arrays import BoolArray, Float64Array, IntArray
from lmm_classifier.core.numerics import log_softmax

_ITERATIONS, _ENOUGH = 200, 1e-6
_DRAWS, _QUANTILE = 100, 0.99  # of held-out examples, for the gate
_MOST = 5000  # images: a sample of more serves as well, and bounds the time


@dataclass(frozen=True)
class PriorEstimate:
    """The priors of new images, and whether they differ enough from those of the dataset to be used."""

    shares: Float64Array  # (C,) estimated shares of the labels; NaN for a label that is not measured
    former: Float64Array  # (C,) shares of the held-out examples
    log_factors: Float64Array  # (C,) added to log-probabilities, where it is used
    gain: float  # log-likelihood of the images by the new priors minus that by the former ones, in nats
    usual_gain: float  # 99 % of samples of held-out examples, as large, gain less
    images: int  # that were counted

    @property
    def is_used(self) -> bool:
        """Return whether the gate is open."""
        return self.gain > self.usual_gain

    def apply(self, log_probabilities: Float64Array) -> Float64Array:
        """Return log-probabilities (n, C) by the new priors; unchanged where the gate is closed."""
        return log_softmax(log_probabilities + self.log_factors) if self.is_used else log_probabilities


def estimate_priors(log_probabilities: Float64Array, correction: BiasCorrection) -> PriorEstimate:
    """Estimate the priors of n new images.

    Args:
        log_probabilities: of the images, (n, C), as the classifier gives them.
        correction: fitted to held-out examples.
    """
    images = correction.correct(_sample(log_probabilities))
    images = images[np.isfinite(images).any(axis=1)]
    shares, gain = expectation_maximization(images, correction.shares, correction.is_measured)
    held_out, usual = correction.log_probabilities, np.inf
    if len(images) and len(held_out):
        draws = np.random.default_rng(0).integers(0, len(held_out), (_DRAWS, len(images)))
        gains = [
            expectation_maximization(held_out[rows], correction.shares, correction.is_measured)[1] for rows in draws
        ]
        usual = float(np.quantile(gains, _QUANTILE))
    factors = correction.biases + _log_ratios(shares, correction.shares, correction.is_measured)
    shown = np.where(correction.is_measured, shares, np.nan)
    return PriorEstimate(shown, correction.shares, factors, gain, usual, len(images))


def expectation_maximization(
    log_probabilities: Float64Array, former: Float64Array, is_measured: BoolArray
) -> tuple[Float64Array, float]:
    """Return the shares (C,) of most likelihood, with one pseudo-count a label, and the gain in log-likelihood.

    Args:
        log_probabilities: of n images by the former priors, (n, C).
        former: the shares (C,) that those mean.
        is_measured: labels (C,) whose shares are estimated; the others keep theirs.
    """
    probabilities, count = np.exp(log_probabilities), int(is_measured.sum())
    ratios = np.ones(len(former))
    shares = former.copy()
    for _ in range(_ITERATIONS if len(probabilities) and count > 1 else 0):
        weighted = probabilities * ratios
        responsible = (weighted / weighted.sum(axis=1, keepdims=True)).sum(axis=0) * is_measured
        new = (responsible + count * former) / (responsible.sum() + count)
        change, shares = float(np.abs(new - shares).max()), new
        ratios = np.divide(shares, former, out=np.ones(len(former)), where=is_measured)
        if change < _ENOUGH:
            break
    return shares, float(np.log((probabilities * ratios).sum(axis=1)).sum())


def _log_ratios(shares: Float64Array, former: Float64Array, is_measured: BoolArray) -> Float64Array:
    return np.log(np.divide(shares, former, out=np.ones(len(former)), where=is_measured))


def _sample(rows: Float64Array) -> Float64Array:
    """Return all rows, or so many of them at even distances."""
    if len(rows) <= _MOST:
        return rows
    chosen: IntArray = np.linspace(0, len(rows) - 1, _MOST).round().astype(np.int64)
    return rows[chosen]
