"""What an image may be answered with, where that is not what the configuration says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.labels import normal_label

_LEAST = float(np.finfo(np.float64).tiny)  # a probability above 0


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """What one image may be answered with, and what its result holds.

    The probabilities stay those among all labels of the index: a low score says that the image likely shows another
    label than those that were asked for. So what a calibration says of scores and thresholds stays true. With
    `PipelineConfig.labels`, in contrast, all rules are fitted to the chosen labels alone.

    Raises:
        ConfigError: `labels` is empty, or a single text.

    Example:
        >>> from pathlib import Path
        >>> from lmm_classifier import AnswerOptions, HybridClassifier, PipelineConfig
        >>> options = AnswerOptions(labels=["gingham", "stripes"], allow_unknown=False)
        >>> with HybridClassifier(PipelineConfig.offline()) as classifier:
        ...     result = classifier.classify(sorted(Path("new").glob("*.png"))[0], options)
        >>> {candidate.label for candidate in result.candidates} <= {"gingham", "stripes"}
        True
    """

    labels: Iterable[str] | None = None
    """Only these may be answered; None means what the configuration says. It becomes a frozen set."""
    allow_unknown: bool | None = None
    """Whether the image may be called unknown; None means what the configuration says."""
    all_labels: bool = False
    """Whether the result holds the probability of every label (`Classification.probabilities`)."""
    vector: bool = False
    """Whether the result holds the vector of the image (`Classification.vector`)."""

    def __post_init__(self) -> None:
        if isinstance(self.labels, str):
            raise ConfigError(f"labels: expected several labels, got only {self.labels!r}. Put it in a list.")
        if self.labels is not None:
            labels = frozenset(map(normal_label, self.labels))
            if not labels:
                raise ConfigError("labels: expected at least one label, got none.")
            object.__setattr__(self, "labels", labels)

    def allowed(self, log_probabilities: Float64Array, names: Sequence[str]) -> Float64Array:
        """Return the probabilities (C,) of the labels `names`; those that may not be answered have none."""
        probabilities = np.exp(log_probabilities)
        if self.labels is None:
            return probabilities
        wanted = set(self.labels)
        is_wanted = np.array([name in wanted for name in names]) & np.isfinite(log_probabilities)
        return np.where(is_wanted, np.maximum(probabilities, _LEAST), 0.0)


ANY = AnswerOptions()
