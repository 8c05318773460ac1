"""Zero-shot text as one more expert: the encoder's embeddings of the label names, weighted by leave-one-out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.calibration.temperature import fit_temperature, log_losses
from lmm_classifier.core.arrays import Arrays, Float32Array, Float64Array, IntArray
from lmm_classifier.neighbors.voting import product

_WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the text, where every other expert has 1

Expert = tuple[Float64Array, float]  # scores (n, C) and their temperature


@dataclass(frozen=True)
class ZeroShotText:
    """Embeddings of the label names, the temperature of their cosines, and the weight of this expert."""

    embeddings: Float32Array  # (C, d) normalized
    temperature: float
    weight: float

    def scores(self, embeddings: Float32Array) -> Float64Array:
        """Return the cosines (n, C) of normalized embeddings (n, d); each row is the same in every batch."""
        return _cosines(self.embeddings, embeddings)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that rebuild it."""
        return {"embeddings": self.embeddings, "settings": np.array([self.temperature, self.weight])}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> ZeroShotText:
        """Rebuild from `to_arrays`; raise KeyError or ValueError if they are damaged."""
        embeddings = np.asarray(arrays["embeddings"], np.float32)
        temperature, weight = map(float, np.asarray(arrays["settings"], np.float64))
        if embeddings.ndim != 2 or not np.isfinite(embeddings).all() or not (temperature > 0 and weight > 0):
            raise ValueError(f"text embeddings {embeddings.shape}, temperature {temperature}, weight {weight}")
        return cls(embeddings, temperature, weight)


def fit_text_weight(
    texts: Float32Array, embeddings: Float32Array, label_ids: IntArray, experts: Sequence[Expert]
) -> ZeroShotText | None:
    """Choose the weight of the zero-shot text scores relative to the other experts.

    Args:
        texts: embeddings of the label names, (C, d).
        embeddings: of the held-out examples, (n, d).
        label_ids: their true labels, (n,).
        experts: the other experts' scores of the same examples, with their temperatures.

    Returns:
        The text with its weight. None unless the leave-one-out log-loss improves by more than one standard error:
        names such as `lot_17` mean nothing.
    """
    scores = _cosines(texts, embeddings)
    temperature = fit_temperature(scores, label_ids)

    def losses(weight: float) -> Float64Array:
        combined = weighted_product(experts, (scores, temperature), weight)
        return log_losses(combined, label_ids, fit_temperature(combined, label_ids))

    without_text = losses(0.0)
    by_weight = {weight: losses(weight) for weight in _WEIGHTS}
    best = min(_WEIGHTS, key=lambda weight: float(by_weight[weight].mean()) if len(by_weight[weight]) else np.inf)
    gain = without_text - by_weight[best]
    if not len(gain) or gain.mean() <= gain.std() / np.sqrt(len(gain)):
        return None
    return ZeroShotText(texts, temperature, best)


def weighted_product(experts: Sequence[Expert], text: Expert, weight: float) -> Float64Array:
    """Return the mean log-probability (n, C) of all experts, where the text counts `weight` times."""
    return np.asarray((len(experts) * product(experts) + weight * product([text])) / (len(experts) + weight))


def _cosines(texts: Float32Array, embeddings: Float32Array) -> Float64Array:
    texts_in_full = texts.astype(np.float64)
    if not len(embeddings):
        return np.empty((0, len(texts)))
    return np.stack([(texts_in_full * embedding).sum(axis=1) for embedding in embeddings])
