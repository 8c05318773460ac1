"""The fitted decision rule: all that inference needs, nothing that fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.calibration.zero_shot_text import ZeroShotText, weighted_product
from lmm_classifier.core.arrays import Arrays, Float32Array, Float64Array, nest, unnest
from lmm_classifier.core.protocols import Similarities
from lmm_classifier.neighbors.metric import WithinClassMetric
from lmm_classifier.neighbors.voting import RuleSpec, product


@dataclass(frozen=True)
class FittedRule:
    """A within-class metric, the experts with their temperatures, and the temperature of their product.

    `spec` names the experts. It is None where a stored rule is only described: such a rule cannot score.
    """

    metric: WithinClassMetric
    temperatures: tuple[float, ...]  # one per expert
    temperature: float  # of their product
    losses: Mapping[float, float]  # leave-one-out log-loss, in nats, of the prototype expert per shrinkage
    text: ZeroShotText | None = None
    spec: RuleSpec | None = None

    def scores(self, plain: Similarities, in_metric: Similarities, embeddings: Float32Array) -> Float64Array:
        """Return the scores (n, C) of n queries, to be read at `temperature`.

        Args:
            plain: similarities of the queries in the space of the index.
            in_metric: the same queries in the within-class metric.
            embeddings: of the queries in the space of the index, (n, d) normalized.
        """
        if self.spec is None:
            raise ValueError(
                "This rule was read without its specification, so it cannot score. Pass one to `load_calibration`."
            )
        compared = in_metric if self.spec.within_class_metric else plain
        return self.combine([expert.scores(compared) for expert in self.spec.experts], embeddings)

    def combine(self, scores: Sequence[Float64Array], embeddings: Float32Array) -> Float64Array:
        """Combine the scores (n, C) of each expert for normalized embeddings (n, d) into one (n, C)."""
        experts = list(zip(scores, self.temperatures))
        if self.text is None:
            return product(experts)
        return weighted_product(experts, (self.text.scores(embeddings), self.text.temperature), self.text.weight)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that rebuild it."""
        return {
            **nest("metric", self.metric.to_arrays()),
            "temperatures": np.array([*self.temperatures, self.temperature]),
            "shrinkages": np.array(list(self.losses)),
            "losses": np.array(list(self.losses.values())),
            **(nest("zero_shot_text", self.text.to_arrays()) if self.text else {}),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, spec: RuleSpec | None = None) -> FittedRule:
        """Rebuild from `to_arrays`; raise KeyError, ValueError or IndexError if they are not a rule's."""
        *temperatures, last = map(float, np.asarray(arrays["temperatures"], np.float64))
        if not all(np.isfinite(value) and value > 0 for value in (*temperatures, last)):
            raise ValueError(f"expected temperatures above 0, got {temperatures} and {last}")
        shrinkages = map(float, np.asarray(arrays["shrinkages"], np.float64))
        losses = dict(zip(shrinkages, map(float, np.asarray(arrays["losses"], np.float64))))
        text = unnest("zero_shot_text", arrays)
        return cls(
            WithinClassMetric.from_arrays(unnest("metric", arrays)),
            tuple(temperatures),
            last,
            losses,
            ZeroShotText.from_arrays(text) if text else None,
            spec,
        )
