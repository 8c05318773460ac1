"""Retrieval with one encoder: its vectors, the rule that is fitted to them, and the search that serves both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.calibration.fusion.encoder_fit import EncoderFit
from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.linalg import threads_for
from lmm_classifier.core.numerics import log_softmax
from lmm_classifier.index.hnsw import HnswGraph, open_graph
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import Gallery, directions
from lmm_classifier.neighbors.gathering.gathered import GatheredSimilarities
from lmm_classifier.neighbors.metric import gallery_in_metric
from lmm_classifier.neighbors.shortlist import SHORTLIST, ShortlistSimilarities
from lmm_classifier.neighbors.similarities import GallerySimilarities

_InMemory = GallerySimilarities | ShortlistSimilarities
Compared = GallerySimilarities | ShortlistSimilarities | GatheredSimilarities


@dataclass(frozen=True)
class EncoderScores:
    """What retrieval with one encoder says about n queries."""

    log_probabilities: Float64Array  # (n, C); -inf for a label without evidence
    familiarity: Float64Array  # (n,) robust standard deviations, higher is more familiar
    nearest: Float64Array  # (n,) cosine similarity of the nearest example, -inf where all were left out
    similarities: Compared  # for the supporting neighbors


@dataclass(frozen=True)
class EncoderRetriever:
    """Compares the vectors of one encoder with the examples, and scores the labels by the fitted rule."""

    index: Index
    fit: EncoderFit
    metric_gallery: Gallery  # the examples in the within-class metric
    graph: HnswGraph | None = None

    @classmethod
    def open(
        cls, config: RetrievalConfig, index: Index, fit: EncoderFit, former: EncoderRetriever | None
    ) -> EncoderRetriever:
        """Open retrieval over an index.

        Args:
            config: how to search.
            index: the examples.
            fit: of the rule, complete or not.
            former: the same of another version of the index, whose work is reused where it still holds.
        """
        same_metric = former is not None and former.fit.rule.metric.equals(fit.rule.metric)
        reusable = former if same_metric else None
        former_rows = _former_rows(reusable, index)
        if reusable is not None:
            index.gallery.take_sums(reusable.index.gallery, former_rows)
        fit = fit.completed(index.gallery, _former_norms(reusable, former_rows))
        metric_gallery = gallery_in_metric(
            fit.rule.metric,
            index.gallery,
            fit.norms,
            reusable.metric_gallery if reusable else None,
            former_rows,
        )
        return cls(index, fit, metric_gallery, open_graph(config, index, former.graph if former else None))

    @property
    def rows_of_each(self) -> Sequence[IntArray] | None:
        """Return the rows of each label, ascending."""
        return self.index.gallery.rows_of_label

    @property
    def queries_at_once(self) -> int:
        """How many queries to score at a time, so that memory does not grow with the index."""
        return self.index.gallery.queries_at_once

    def fitted_by(self, fit: EncoderFit) -> EncoderRetriever:
        """Return retrieval over the same examples by another fit."""
        fit = fit.completed(self.index.gallery)
        metric_gallery = gallery_in_metric(fit.rule.metric, self.index.gallery, fit.norms)
        return EncoderRetriever(self.index, fit, metric_gallery, self.graph)

    def score(self, vectors: Float32Array, left_out: Sequence[IntArray]) -> EncoderScores:
        """Score encoder vectors (n, dim); the rows `left_out` of each query, if any are given, do not count."""
        with threads_for(len(vectors) * self.index.gallery.embeddings.size):
            return self._score(vectors, left_out)

    def _score(self, vectors: Float32Array, left_out: Sequence[IntArray]) -> EncoderScores:
        plain, in_metric = self._compare(vectors, left_out)
        rule = self.fit.rule
        scores = rule.scores(plain, in_metric, plain.embeddings)
        cosines = plain.nearest_each(1)[1]  # (n, 1), or (n, 0) where there is no example
        return EncoderScores(
            log_softmax(scores / rule.temperature),
            self.fit.familiarity.of(plain, in_metric),
            cosines.max(axis=1, initial=-np.inf),
            plain,
        )

    def _compare(self, vectors: Float32Array, left_out: Sequence[IntArray]) -> tuple[_InMemory, _InMemory]:
        """Compare vectors (n, dim) with the examples or a shortlist of them: in the index's space, in the metric."""
        gallery, queries, metric = self.index.gallery, self.index.queries(vectors), self.fit.rule.metric
        if self.graph is None:
            exact = gallery.compare(queries, left_out)
            return exact, self.metric_gallery.compare(metric.whiten(exact.embeddings), left_out)
        spare = max(map(len, left_out), default=0)  # as many of those found may have been left out
        shortlist = self.graph.search(directions(queries)[0], SHORTLIST + spare)
        in_metric, unread = self.fit.scores_in_metric, self.fit.unread
        plain = ShortlistSimilarities.of(gallery, queries, shortlist, left_out, None if in_metric else unread)
        mapped, lines = metric.whiten(plain.embeddings), unread if in_metric else None
        return plain, ShortlistSimilarities.of(self.metric_gallery, mapped, shortlist, left_out, lines)


def _former_rows(former: EncoderRetriever | None, index: Index) -> list[int]:
    """Return the row of each example in a former index, -1 for new ones; nothing where there is no former one."""
    if former is None:
        return []
    rows = {content: row for row, content in enumerate(former.index.hashes)}
    return [rows.get(content, -1) for content in index.hashes]


def _former_norms(former: EncoderRetriever | None, former_rows: Sequence[int]) -> Float64Array | None:
    """Return the norms in its metric that a former retriever knows, NaN for new examples."""
    if former is None or former.metric_gallery.projected is None:
        return None
    rows = np.asarray(former_rows, np.int64)
    return np.asarray(np.where(rows < 0, np.nan, former.metric_gallery.projected.norms[rows]))
