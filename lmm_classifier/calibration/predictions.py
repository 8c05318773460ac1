"""What is known of examples that were held out: scores of the experts, and the predictions of the fitted rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.calibration.sparse.sparse_scores import SparseScores
from lmm_classifier.core.arrays import BoolArray, Float64Array, IntArray

SCORING = "scoring held-out examples"  # the stage of a fit that takes longest


@dataclass(frozen=True)
class HeldOutScores:
    """Scores of the experts for n examples that were held out, and how familiar those look."""

    rows: IntArray  # (n,) rows of the index
    label_ids: IntArray  # (n,) their true labels
    scores: list[Float64Array]  # (n, C) per expert
    signals: Float64Array  # (n, 5), see `neighbors.novelty.Familiarity`

    @classmethod
    def join(cls, parts: Sequence[HeldOutScores]) -> HeldOutScores:
        """Concatenate parts, in order."""
        return cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.label_ids for part in parts]),
            [np.concatenate(expert) for expert in zip(*(part.scores for part in parts))],
            np.concatenate([part.signals for part in parts]),
        )


@dataclass(frozen=True)
class HeldOutPredictions:
    """Predictions of the fitted rule for n held-out examples (scikit-learn: `cross_val_predict`)."""

    rows: IntArray  # (n,) rows of the index
    label_ids: IntArray  # (n,) their true labels
    log_probabilities: Float64Array  # (n, C)
    expert_log_probabilities: list[Float64Array]  # (n, C) of each expert alone; of several encoders, fused
    familiarity: Float64Array  # (n,) in robust standard deviations, higher is more familiar
    each: tuple[HeldOutPredictions, ...] = ()  # of each encoder alone, where there are several

    def in_order_of_rows(self) -> HeldOutPredictions:
        """Return the same, ascending by row."""
        order = np.argsort(self.rows, kind="stable")
        experts = [logs[order] for logs in self.expert_log_probabilities]
        return HeldOutPredictions(
            self.rows[order], self.label_ids[order], self.log_probabilities[order], experts, self.familiarity[order]
        )

    @property
    def confidence(self) -> Float64Array:
        """Return the probability of the most likely label, (n,)."""
        return np.asarray(np.exp(self.log_probabilities.max(axis=1)))

    @property
    def correct(self) -> BoolArray:
        """Return whether the most likely label is the true one, (n,)."""
        return np.asarray(self.log_probabilities.argmax(axis=1) == self.label_ids)

    @property
    def true_label_probabilities(self) -> Float64Array:
        """Return the probability of the true label, (n,): the conformity scores."""
        return np.asarray(np.exp(self.log_probabilities[np.arange(len(self.label_ids)), self.label_ids]))


@dataclass(frozen=True)
class SparsePredictions(HeldOutPredictions):
    """The same where n times C probabilities do not fit in memory; `log_probabilities` has no column.

    Everything that needs only the best and the true label works on it: thresholds, guarantees, prediction sets.
    """

    sparse: SparseScores | None = None  # log-probabilities

    @classmethod
    def from_scores(
        cls, rows: IntArray, label_ids: IntArray, log_probabilities: SparseScores, familiarity: Float64Array
    ) -> SparsePredictions:
        """Take sparse log-probabilities of n held-out examples."""
        none = np.empty((len(rows), 0))
        return cls(rows, label_ids, none, [], familiarity, (), log_probabilities)

    @property
    def _logs(self) -> SparseScores:
        if self.sparse is None:
            raise ValueError("expected sparse log-probabilities; make these predictions with `from_scores`")
        return self.sparse

    @property
    def confidence(self) -> Float64Array:
        """Return the probability of the most likely label, (n,)."""
        return np.asarray(np.exp(self._logs.best()[1]))

    @property
    def correct(self) -> BoolArray:
        """Return whether the most likely label is the true one, (n,)."""
        return np.asarray(self._logs.best()[0] == self.label_ids)

    @property
    def true_label_probabilities(self) -> Float64Array:
        """Return the probability of the true label, (n,): the conformity scores."""
        return np.asarray(np.exp(self._logs.of_labels(self.label_ids)))
