"""What is fitted to the vectors of one encoder: the rule, and what is familiar."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.calibration.fitted_rule import FittedRule
from lmm_classifier.core.arrays import Float64Array, nest
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.gathering.gathered import UnreadLabels
from lmm_classifier.neighbors.metric import is_projected, norms_in
from lmm_classifier.neighbors.novelty import NEIGHBORS, Familiarity, by_label, is_large

_BLOCK = 256
_MAX_AT_ONCE = 1 << 24  # similarities in memory at a time: 67 MB


@dataclass(frozen=True)
class EncoderFit:
    """The rule that is fitted to the vectors of one encoder, and what is familiar there."""

    rule: FittedRule
    familiarity: Familiarity
    norms: Float64Array | None = None  # (N,) of the examples in the metric, where it is projected
    unread: UnreadLabels = field(default_factory=UnreadLabels)  # where answers come from a shortlist
    # (C, d) of square roots, where the rows are in a store and the metric takes roots
    means: Float64Array | None = None

    @property
    def scores_in_metric(self) -> bool:
        """Return whether labels are scored in the within-class metric."""
        return self.rule.spec is None or self.rule.spec.within_class_metric

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that rebuild it."""
        return {
            **self.rule.to_arrays(),
            **nest("familiarity", self.familiarity.to_arrays()),
            **({} if self.norms is None else {"norms": self.norms}),
            **({"unread": self.unread.to_array()} if self.unread.lines else {}),
            **({} if self.means is None else {"means": self.means}),
        }

    def completed(self, gallery: Gallery, known_norms: Float64Array | None = None) -> EncoderFit:
        """Fill in what is missing (NaN) about examples that were added since.

        Where no norms in the metric are stored, `known_norms` (N,) may give them, with NaN for unknown ones.
        """
        knn_distance = with_knn_distance(self.familiarity.knn_distance, gallery)
        familiarity, metric = replace(self.familiarity, knn_distance=knn_distance), self.rule.metric
        if not is_projected(metric, gallery):
            return replace(self, familiarity=familiarity, norms=None)
        norms = norms_in(metric, gallery, known_norms if self.norms is None else self.norms)
        return replace(self, familiarity=familiarity, norms=norms)


def with_knn_distance(knn_distance: Float64Array, gallery: Gallery) -> Float64Array:
    """Fill in the NaN of kNN distances (N,): 1 - mean similarity of an example to its nearest others."""
    missing, count = np.flatnonzero(np.isnan(knn_distance)), len(knn_distance)
    if not len(missing):
        return knn_distance
    if is_large(count):
        return np.where(np.isnan(knn_distance), by_label(knn_distance, gallery), knn_distance)
    if count == 1:
        return np.ones(1)  # there is no other
    filled, k = knn_distance.copy(), min(NEIGHBORS, count - 1)
    size = max(min(_BLOCK, _MAX_AT_ONCE // count), 1)
    for start in range(0, len(missing), size):
        part = missing[start : start + size]
        similarities = gallery.embeddings[part] @ gallery.embeddings.T  # (b, N)
        similarities[np.arange(len(part)), part] = -np.inf
        similarities.partition(count - k, axis=1)
        filled[part] = 1 - similarities[:, count - k :].mean(axis=1)
    return filled
