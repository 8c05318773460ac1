"""Retrieval with one encoder whose rows stay in a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from lmm_classifier.calibration.fusion.encoder_fit import EncoderFit
from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.errors import ConfigError, EngineError
from lmm_classifier.core.numerics import log_softmax
from lmm_classifier.index.backends.store_index import StoreIndex
from lmm_classifier.neighbors.gathering.compared_pairs import ComparedPairs
from lmm_classifier.neighbors.gathering.reading import ReadingLimits
from lmm_classifier.neighbors.gathering.store_similarities import StoreComparison
from lmm_classifier.neighbors.novelty import NEIGHBORS, signals_with_neighbors
from lmm_classifier.pipeline.retrieval.encoder_retriever import EncoderScores


@dataclass(frozen=True)
class ComparedQueries:
    """Queries that were compared with the rows already: their number, and their pairs."""

    count: int
    pairs: ComparedPairs


@dataclass(frozen=True)
class StoreRetriever:
    """Compares the vectors of one encoder with a store of rows, and scores the labels by the fitted rule."""

    index: StoreIndex
    fit: EncoderFit
    comparison: StoreComparison
    compared: ComparedQueries | None = None  # those that will be scored, where they were compared already

    @classmethod
    def open(cls, index: StoreIndex, fit: EncoderFit) -> StoreRetriever:
        """Open retrieval by a fit that was made through the same store."""
        means = index.store.means if fit.means is None else fit.means
        metric = fit.rule.metric
        store = index.store.with_norms(metric.digest, metric.norms, store=False)
        comparison = StoreComparison(store, metric, means, fit.scores_in_metric, ReadingLimits(), fit.unread)
        return cls(index, fit, comparison)

    @property
    def rows_of_each(self) -> Sequence[IntArray] | None:
        """Return None: rows of a label are read as they are needed."""
        return None

    @property
    def queries_at_once(self) -> int:
        """How many queries to score at a time, so that memory does not grow with the labels."""
        return self.comparison.queries_at_once

    def fitted_by(self, fit: EncoderFit) -> NoReturn:  # noqa: ARG002
        """Raise ConfigError: a fit to new images compares all examples."""
        raise ConfigError(
            "learn_from and estimate_priors compare all examples, but retrieval.search: store leaves them in the store"
        )

    def score(self, vectors: Float32Array, left_out: Sequence[IntArray]) -> EncoderScores:
        """Score encoder vectors (n, dim); the rows whose ids `left_out` has for each query, if any, do not count."""
        compared = self.compared
        if compared is not None and compared.count != len(vectors):
            raise EngineError(f"{len(vectors)} images are to be scored, but {compared.count} were compared. Run again.")
        pairs = None if compared is None else compared.pairs
        plain, in_metric = self.comparison.compare(self.index.queries(vectors), left_out, pairs)
        rule, familiarity = self.fit.rule, self.fit.familiarity
        neighbors = plain.labels_of_nearest(NEIGHBORS)
        signals = signals_with_neighbors(neighbors, plain, in_metric, familiarity.knn_distance)
        return EncoderScores(
            log_softmax(rule.scores(plain, in_metric, plain.embeddings) / rule.temperature),
            familiarity.of_signals(signals),
            neighbors[1].max(axis=1, initial=-np.inf),
            plain,
        )
