"""Label names as one more voice: the encoder's text vectors, heard as loudly as leave-one-out allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.calibration.temperature import fit_temperature, log_losses
from lmm_classifier.core.protocols import FloatArray, IntArray
from lmm_classifier.neighbors.voting import product

Doubles = NDArray[np.float64]

_WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the text, where every other voice has 1


@dataclass(frozen=True)
class TextVoice:
    """Unit text rows (C, d), one per label, the temperature of their cosines, and the weight of the voice."""

    rows: FloatArray
    temperature: float
    weight: float

    def scores(self, units: FloatArray) -> Doubles:
        """Cosines (n, C) of unit rows (n, d), summed row by row: the same in every batch."""
        rows = self.rows.astype(np.float64)
        return np.stack([(rows * unit).sum(axis=1) for unit in units]) if len(units) else np.empty((0, len(rows)))

    def state(self) -> dict[str, NDArray[np.generic]]:
        """The arrays that rebuild it."""
        return {"text.rows": self.rows, "text.settings": np.array([self.temperature, self.weight])}

    @classmethod
    def restore(cls, state: Mapping[str, NDArray[np.generic]]) -> TextVoice | None:
        """Rebuild from `state`; None if there was no such voice. Raises ValueError if it is damaged."""
        if "text.rows" not in state:
            return None
        rows = np.asarray(state["text.rows"], np.float32)
        temperature, weight = (float(one) for one in np.asarray(state["text.settings"], np.float64))
        if rows.ndim != 2 or not np.isfinite(rows).all() or not (temperature > 0 and weight > 0):
            raise ValueError(f"text rows {rows.shape}, temperature {temperature}, weight {weight}")
        return cls(rows, temperature, weight)


def fit_text_voice(
    rows: FloatArray, units: FloatArray, own: IntArray, others: Sequence[tuple[Doubles, float]]
) -> TextVoice | None:
    """Choose how loud the text speaks beside `others`, scores (n, C) of left-out examples with their temperatures.

    `rows` (C, d) are the texts, `units` (n, d) the examples, whose labels are `own` (n,). None, silence, unless the
    leave-one-out log-loss gets better by more than one standard error: names like `lot_17` mean nothing.
    """
    mute = TextVoice(rows, 1.0, 1.0)
    scores = mute.scores(units)
    temperature = fit_temperature(scores, own)

    def losses(weight: float) -> Doubles:
        together = weighted(others, (scores, temperature), weight)
        return log_losses(together, own, fit_temperature(together, own))

    silent = losses(0.0)
    found = {weight: losses(weight) for weight in _WEIGHTS}
    best = min(_WEIGHTS, key=lambda weight: float(found[weight].mean()) if len(found[weight]) else np.inf)
    gain = silent - found[best]
    if not len(gain) or gain.mean() <= gain.std() / np.sqrt(len(gain)):
        return None
    return TextVoice(rows, temperature, best)


def weighted(others: Sequence[tuple[Doubles, float]], text: tuple[Doubles, float], weight: float) -> Doubles:
    """Mean log-probability (n, C) of all voices, the text counting `weight` times."""
    silent = product(others)
    spoken = np.where(np.isfinite(silent), weight * product([text]), 0)
    return np.asarray((len(others) * silent + spoken) / (len(others) + weight))
