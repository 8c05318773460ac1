"""A fitted decision rule: what inference needs of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.calibration.zero_shot_text import TextVoice, weighted
from lmm_classifier.core.protocols import FloatArray
from lmm_classifier.neighbors.metric import WithinClassMetric
from lmm_classifier.neighbors.voting import product

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class FittedVoices:
    """The metric, one temperature per voice, and that of their product.

    `losses` says how well each shrinkage did: leave-one-out log-loss of the prototype voice, in nats.
    """

    metric: WithinClassMetric
    temperatures: tuple[float, ...]
    temperature: float
    losses: Mapping[float, float]
    text: TextVoice | None = None

    def together(self, scores: Sequence[Doubles], units: FloatArray) -> Doubles:
        """The scores (n, C) of the voices on unit rows (n, d) as one, to be read at `temperature`."""
        opinions = list(zip(scores, self.temperatures))
        if self.text is None:
            return product(opinions)
        return weighted(opinions, (self.text.scores(units), self.text.temperature), self.text.weight)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """The arrays that rebuild it; no pickled objects."""
        return {
            **{f"metric.{name}": array for name, array in self.metric.state().items()},
            "temperatures": np.array([*self.temperatures, self.temperature]),
            "shrinkages": np.array(list(self.losses)),
            "losses": np.array(list(self.losses.values())),
            **(self.text.state() if self.text else {}),
        }

    @classmethod
    def restore(cls, state: Mapping[str, NDArray[np.generic]]) -> FittedVoices:
        """Rebuild from `state`; raises KeyError, ValueError or IndexError if it is not one."""
        metric = {name.removeprefix("metric."): array for name, array in state.items() if name.startswith("metric.")}
        *voices, last = (float(one) for one in np.asarray(state["temperatures"], np.float64))
        if not all(np.isfinite(one) and one > 0 for one in (*voices, last)):
            raise ValueError(f"expected temperatures above 0, got {voices} and {last}")
        pairs = zip(np.asarray(state["shrinkages"], np.float64), np.asarray(state["losses"], np.float64))
        losses = {float(one): float(loss) for one, loss in pairs}
        return cls(WithinClassMetric.restore(metric), tuple(voices), last, losses, TextVoice.restore(state))
