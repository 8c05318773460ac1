"""Fusion of encoders: the weighted product of their probabilities, and one familiarity.

The product is a logarithmic opinion pool (Genest & Zidek, 1986, "Combining probability distributions", section 3). Its
weights are fitted on held-out examples; see `fusion_weights`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.core.numerics import log_softmax
from lmm_classifier.neighbors.novelty import center_and_spread

FLOOR = -16.0  # the least log-probability of one encoder: it can make a label unlikely, but not exclude it
_ODDS_WEIGHT = 0.25  # of the standardized log-odds in the familiarity
_CLIP = 4.0  # of the standardized log-odds


@dataclass(frozen=True)
class EncoderFusion:
    """Weights of encoders, and the usual log-odds of the fused best label. One encoder alone is left as it is."""

    weights: Float64Array  # (E,), 0 or more; their sum is the inverse temperature of the product
    center: float = 0.0  # median log-odds of held-out examples
    spread: float = 1.0  # their robust standard deviation

    @classmethod
    def fit(cls, weights: Float64Array, log_probabilities: Sequence[Float64Array]) -> EncoderFusion:
        """Take the weights (E,), and the usual log-odds of held-out examples from their log-probabilities (n, C)."""
        odds = log_odds(cls(weights).log_probabilities(log_probabilities))
        center, spread = center_and_spread(odds[:, None])
        return cls(weights, float(center[0]), float(spread[0]))

    def log_probabilities(self, each: Sequence[Float64Array]) -> Float64Array:
        """Fuse the log-probabilities (n, C) of each encoder into those of the labels, (n, C)."""
        if len(each) == 1:
            return each[0]
        return log_softmax(self._logits(each))

    def _logits(self, each: Sequence[Float64Array]) -> Float64Array:
        possible = np.logical_and.reduce([np.isfinite(logs) for logs in each])
        total = sum(weight * np.where(possible, np.maximum(logs, FLOOR), 0) for weight, logs in zip(self.weights, each))
        return np.asarray(np.where(possible, total, -np.inf))

    def familiarity(self, each: Sequence[Float64Array], log_probabilities: Float64Array) -> Float64Array:
        """Return the fused familiarity (n,).

        It is the weighted mean of the familiarity (n,) of each encoder, plus a quarter of the standardized log-odds of
        the best label by the fused `log_probabilities` (n, C).
        """
        if len(each) == 1:
            return each[0]
        share = self.weights / self.weights.sum()
        odds = np.clip((log_odds(log_probabilities) - self.center) / self.spread, -_CLIP, _CLIP)
        return np.asarray(sum(part * values for part, values in zip(share, each)) + _ODDS_WEIGHT * odds)

    def strongest(self, each: Sequence[Float64Array]) -> IntArray:
        """Return for each query and label, (n, C), the encoder whose weighted log-probability supports most it.

        It is measured from that of a label by chance, 1 / C; otherwise an encoder of little weight would always win.
        """
        labels = max(each[0].shape[1], 1)
        gains = [weight * (np.maximum(logs, FLOOR) + np.log(labels)) for weight, logs in zip(self.weights, each)]
        return np.asarray(np.argmax(np.stack(gains), axis=0))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {"weights": self.weights.tolist(), "center": self.center, "spread": self.spread}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EncoderFusion:
        """Rebuild from `to_dict`; raise KeyError, TypeError or ValueError if they are not a fusion's."""
        weights = np.asarray(values["weights"], np.float64)
        fusion = cls(weights, float(values["center"]), float(values["spread"]))
        numbers = [*weights, fusion.center, fusion.spread]
        if weights.ndim != 1 or not np.isfinite(numbers).all() or not ((weights > 0).all() and fusion.spread > 0):
            raise ValueError(f"impossible weights of encoders: {values}")
        return fusion


def log_odds(log_probabilities: Float64Array) -> Float64Array:
    """Return log p - log(1 - p) of the most probable label, (n,), exact where p is nearly 1.

    Without a possible label it is -inf, without another label inf.
    """
    if not log_probabilities.shape[1]:
        return np.full(len(log_probabilities), -np.inf)
    rows, best = np.arange(len(log_probabilities)), log_probabilities.argmax(axis=1)
    own = log_probabilities[rows, best]
    others = log_probabilities.copy()
    others[rows, best] = -np.inf
    top = others.max(axis=1)
    shifted = others - np.where(np.isfinite(top), top, 0)[:, None]
    with np.errstate(divide="ignore"):
        rest = np.where(np.isfinite(top), top + np.log(np.exp(shifted).sum(axis=1)), -np.inf)
    return np.where(np.isfinite(own), own - np.where(np.isfinite(own), rest, 0), -np.inf)
