"""A calibration: the fitted rule, what is familiar, and the thresholds; stored with an index."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.calibration.fitted_rule import FittedRule
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.core.arrays import Float64Array, nest
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.staleness import ExampleDigests, vectors_digest
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.metric import is_projected, norms_in
from lmm_classifier.neighbors.novelty import NEIGHBORS, Familiarity, by_label, is_large
from lmm_classifier.rerank.benefit import RerankerBenefit

_BLOCK = 256
_MAX_AT_ONCE = 1 << 24  # similarities in memory at a time: 67 MB


@dataclass(frozen=True)
class Calibration:
    """A rule fitted to the examples of an index, what is familiar there, and the thresholds that were asked for."""

    rule: FittedRule
    familiarity: Familiarity
    conformity_scores: Float64Array  # (n,) ascending: probabilities of the true labels of held-out examples
    confidence_threshold: float | None = None  # None: no target precision was asked for
    not_certified: str = ""  # why no guarantee stands behind the confidence threshold; empty: one does
    request: CalibrationRequest | None = None  # completed; None: nobody asked, the rule was fitted on opening
    reranker_benefit: RerankerBenefit | None = None  # None: the reranker was not measured
    reranker_date: str = ""  # ISO 8601 day on which it was measured
    norms: Float64Array | None = None  # (N,) of the examples in the metric, where it is projected
    date: str = ""  # ISO 8601 day on which it was stored; empty for one that was not

    @property
    def keep_known(self) -> float | None:
        """Return the true-positive rate of known images that was asked for, 0 to 1; None where nobody asked."""
        return self.request.keep_known if self.request else None

    def to_arrays(self, contents: IndexContents) -> dict[str, NDArray[Any]]:
        """Return the arrays to store with the index of `contents`."""
        threshold, benefit = self.confidence_threshold, self.reranker_benefit
        return {
            **self.rule.to_arrays(),
            **nest("familiarity", self.familiarity.to_arrays()),
            "conformity_scores": self.conformity_scores,
            "confidence_threshold": np.array([np.nan if threshold is None else threshold]),
            "not_certified": np.array([self.not_certified]),
            "request": np.array([self.request.to_json() if self.request else ""]),
            **ExampleDigests.of(contents).to_arrays(),
            "vectors": np.array([vectors_digest(contents)]),
            "rule": np.array([self.rule.spec.name if self.rule.spec else ""]),
            "date": np.array([self.date]),
            "reranker_date": np.array([self.reranker_date]),
            **({} if self.norms is None else {"norms": self.norms}),
            **({} if benefit is None else nest("reranker_benefit", benefit.to_arrays())),
        }

    def completed(self, gallery: Gallery, known_norms: Float64Array | None = None) -> Calibration:
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
