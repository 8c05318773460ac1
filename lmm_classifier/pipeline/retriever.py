"""Retrieval as a whole: the index, the fitted rule, and the search that serves both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.loading import usable_calibration
from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.progress import ProgressCallback
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.formats import is_durable
from lmm_classifier.index.hnsw import HnswGraph, wants_graph
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import Gallery, directions
from lmm_classifier.neighbors.metric import gallery_in_metric
from lmm_classifier.neighbors.shortlist import ShortlistSimilarities
from lmm_classifier.neighbors.similarities import GallerySimilarities
from lmm_classifier.neighbors.voting import make_rule

_SHORTLIST = 500  # rows; of the ten nearest it misses one in some thousands (see benchmarks/search.py)

_Similarities = GallerySimilarities | ShortlistSimilarities


@dataclass(frozen=True)
class RetrievalScores:
    """What retrieval says about n queries."""

    scores: Float64Array  # (n, C) of the rule, to be read at its temperature
    familiarity: Float64Array  # (n,) robust standard deviations, higher is more familiar
    nearest: Float64Array  # (n,) cosine similarity of the nearest example, -inf where all were left out
    similarities: _Similarities  # for the supporting neighbors


@dataclass(frozen=True)
class Retriever:
    """Compares vectors with the examples and scores the labels by the fitted rule.

    `calibration` is what it scores with: the stored one, or one fitted on opening where none fits. `stored` is the
    calibration of the index, None where it is missing or stale.
    """

    index: ExactIndex
    calibration: Calibration
    stored: Calibration | None
    metric_gallery: Gallery  # the examples in the within-class metric
    graph: HnswGraph | None = None

    @classmethod
    def open(
        cls,
        config: RetrievalConfig,
        index: ExactIndex,
        labels: Sequence[str] | None = None,
        former: Retriever | None = None,
        progress: ProgressCallback | None = None,
    ) -> Retriever:
        """Open retrieval over an index.

        Args:
            config: the rule, and how to search.
            index: the examples.
            labels: if given, only these may be answered. The rule is then fitted to them alone, since other
                similarities are usual among fewer labels.
            former: a retriever of another version of the index, whose work is reused where it still holds.
            progress: called while the rule is fitted, because no stored calibration fits.
        """
        stored = usable_calibration(index.contents, make_rule(config, index.label_ids, len(index.label_names)))
        other_vectors = None
        if labels is not None:
            if not isinstance(index.transform, IdentityTransform):
                other_vectors = index.vectors()[~np.isin(np.array(index.contents.labels), list(labels))]
            index = index.only(labels)
        if labels is None and stored is not None:
            calibration = stored
        else:
            calibration = fit_by_leave_one_out(config, index, other_vectors=other_vectors, progress=progress)[0]
        same_metric = former is not None and former.calibration.rule.metric.equals(calibration.rule.metric)
        reusable = former if same_metric else None
        former_rows = _former_rows(reusable, index)
        calibration = calibration.completed(index.gallery, _former_norms(reusable, former_rows))
        metric_gallery = gallery_in_metric(
            calibration.rule.metric,
            index.gallery,
            calibration.norms,
            reusable.metric_gallery if reusable else None,
            former_rows,
        )
        graph = None
        if wants_graph(config.search, len(index)):
            folder = config.index_path if labels is None and is_durable(config.index_path) else None
            graph = HnswGraph(index, folder, former.graph if former else None)  # that of a part is not stored
        return cls(index, calibration, stored, metric_gallery, graph)

    @property
    def temperature(self) -> float:
        """Return the temperature at which the scores become probabilities."""
        return self.calibration.rule.temperature

    def score(self, vectors: Float32Array, leave_out: Sequence[str | None] | None = None) -> RetrievalScores:
        """Score encoder vectors (n, dim); examples with a content hash in `leave_out` (n,) do not count."""
        plain, in_metric = self._compare(vectors, self.index.rows_with_hash(leave_out or ()))
        scores = self.calibration.rule.scores(plain, in_metric, plain.embeddings)
        familiarity = self.calibration.familiarity.of(plain, in_metric)
        cosines = plain.nearest_each(1)[1]  # (n, 1), or (n, 0) where there is no example
        return RetrievalScores(scores, familiarity, cosines.max(axis=1, initial=-np.inf), plain)

    def score_in_batches(
        self, vectors: Float32Array, leave_out: Sequence[str | None] | None = None
    ) -> Iterator[tuple[slice, RetrievalScores]]:
        """Score encoder vectors (n, dim) part by part, so that memory does not grow with the index."""
        step = self.index.gallery.queries_at_once
        for start in range(0, len(vectors), step):
            part = slice(start, start + step)
            yield part, self.score(vectors[part], leave_out[part] if leave_out is not None else None)

    def _compare(self, vectors: Float32Array, left_out: Sequence[IntArray]) -> tuple[_Similarities, _Similarities]:
        """Compare vectors (n, dim) with the examples or a shortlist of them: in the index's space, in the metric."""
        gallery, queries, metric = self.index.gallery, self.index.queries(vectors), self.calibration.rule.metric
        if self.graph is None:
            exact = gallery.compare(queries, left_out)
            return exact, self.metric_gallery.compare(metric.whiten(exact.embeddings), left_out)
        spare = max(map(len, left_out), default=0)  # as many of those found may have been left out
        shortlist = self.graph.search(directions(queries)[0], _SHORTLIST + spare)
        plain = ShortlistSimilarities.of(gallery, queries, shortlist, left_out)
        mapped = metric.whiten(plain.embeddings)
        return plain, ShortlistSimilarities.of(self.metric_gallery, mapped, shortlist, left_out)


def _former_rows(former: Retriever | None, index: ExactIndex) -> list[int]:
    """Return the row of each example in a former index, -1 for new ones; nothing where there is no former one."""
    if former is None:
        return []
    rows = {content: row for row, content in enumerate(former.index.hashes)}
    return [rows.get(content, -1) for content in index.hashes]


def _former_norms(former: Retriever | None, former_rows: Sequence[int]) -> Float64Array | None:
    """Return the norms in its metric that a former retriever knows, NaN for new examples."""
    if former is None or former.metric_gallery.projected is None:
        return None
    rows = np.asarray(former_rows, np.int64)
    return np.asarray(np.where(rows < 0, np.nan, former.metric_gallery.projected.norms[rows]))
