"""Fits a rule to the rows of a store, by leave-one-out through the comparison that answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.fusion.cascade import Cascade, Stage
from lmm_classifier.calibration.fusion.encoder_fit import EncoderFit
from lmm_classifier.calibration.fusion.encoder_fusion import EncoderFusion
from lmm_classifier.calibration.guarantees.held_out_results import HeldOutResults
from lmm_classifier.calibration.predictions import HeldOutScores, SparsePredictions
from lmm_classifier.calibration.rule_fitting import ChosenMetric, choose_shrinkage, rows_for_shrinkage
from lmm_classifier.calibration.sparse.sampling import rows_through_shortlist
from lmm_classifier.calibration.sparse.shortlist_blocks import MEANS
from lmm_classifier.calibration.sparse.sparse_fit import LeftOutExamples, evenly, fit_sparsely
from lmm_classifier.calibration.sparse.store_statistics import (
    fit_store_scatter,
    label_densities,
    others_of,
    sample_of_store,
)
from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.progress import ProgressCallback
from lmm_classifier.core.protocols import RowStore
from lmm_classifier.core.rows import RowBlock
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gathering.gathered import UnreadLabels
from lmm_classifier.neighbors.gathering.reading import ReadingLimits
from lmm_classifier.neighbors.gathering.store_rule import make_store_rule
from lmm_classifier.neighbors.gathering.store_similarities import StoreComparison
from lmm_classifier.neighbors.novelty import NEIGHBORS, signals_with_neighbors
from lmm_classifier.neighbors.voting import RuleSpec

_EXAMPLES, _LABELS_OF_EACH = 256, 16  # that tell what is usual for labels that are not read

StoreFit = tuple[Calibration, SparsePredictions]


def fit_through_store(
    config: RetrievalConfig,
    store: RowStore,
    limits: ReadingLimits | None = None,
    most: int | None = None,
    texts: Float32Array | None = None,
    progress: ProgressCallback | None = None,
    *,
    store_norms: bool = False,
) -> StoreFit:
    """Fit the configured rule to the rows of a store.

    Args:
        config: names the rule.
        store: N rows of C labels.
        limits: which rows are read for a query; None: as answers read them by default.
        most: examples to leave out; None: 20,000, fewer where there are very many labels. N does not count.
        texts: embeddings of the label names, (C, d), that join as an expert where they help.
        progress: called between two blocks of examples.
        store_norms: whether the norms of the rows in the chosen metric may be stored with them, so that answers are
            cheaper.

    Returns:
        The calibration, and predictions of the examples, whose `rows` are ids of the store.

    Raises:
        ConfigError: a store cannot answer the rule.
    """
    limits, labels = limits or ReadingLimits(), len(store.counts)
    spec = make_store_rule(config, labels, limits)
    scatter = fit_store_scatter(store, spec.power_normalize)
    most = rows_through_shortlist(labels) if most is None else most
    chosen = choose_shrinkage(
        scatter, store.counts, *_vectors_of(sample_of_store(store, rows_for_shrinkage(labels))), progress
    )
    sample = sample_of_store(store, most)
    store = store.with_norms(chosen.metric.digest, chosen.metric.norms, store=store_norms)
    vectors, _ = _vectors_of(sample)
    densities = label_densities(store)
    scoring = _Scoring(spec, chosen, store, limits, sample, densities)
    comparison = scoring.comparison()
    unread = scoring.unread_labels(comparison)
    scores = _Scores(scoring, comparison.with_unread(unread))
    examples = LeftOutExamples(scores, np.arange(len(sample)), vectors)
    fitted = fit_sparsely(spec, chosen, examples, densities, texts, progress)
    means = scatter.means if chosen.metric.power_normalize else None
    fit = EncoderFit(fitted.rule, fitted.familiarity, None, unread, means)
    of = fitted.predictions
    logs = of.sparse
    predictions = of if logs is None else of.from_scores(sample.ids[of.rows], of.label_ids, logs, of.familiarity)
    alone = Cascade((Stage((0,), EncoderFusion(np.ones(1))),))
    conformity_scores = np.sort(predictions.true_label_probabilities)
    return Calibration((fit,), alone, HeldOutResults.of(predictions), conformity_scores, spec.name), predictions


def _vectors_of(rows: RowBlock) -> tuple[Float32Array, IntArray]:
    return np.asarray(rows.vectors, np.float32), rows.label_ids


@dataclass(frozen=True)
class _Scoring:
    """What scores the rows of a sample, each left out of the store."""

    spec: RuleSpec
    chosen: ChosenMetric
    store: RowStore
    limits: ReadingLimits
    sample: RowBlock
    knn_distance: Float64Array  # (C,) of the labels

    def comparison(self) -> StoreComparison:
        """Return the comparison through which examples are left out."""
        in_metric, means = self.spec.within_class_metric, self.chosen.scatter.means
        return StoreComparison(
            self.store, self.chosen.metric, means, in_metric, self.limits, downdate=self.chosen.downdate
        )

    def rows(self, places: IntArray) -> RowBlock:
        """Return some rows of the sample."""
        sample = self.sample
        vectors = np.asarray(sample.vectors, np.float32)[places]
        return RowBlock(sample.ids[places], sample.label_ids[places], vectors)

    def unread_labels(self, comparison: StoreComparison) -> UnreadLabels:
        """Find what is usual for labels that do not compete: some, at random, are read for a few examples."""
        scored = 1 if self.spec.within_class_metric else 0
        found: dict[int, tuple[list[Float64Array], list[Float64Array]]] = {m: ([], []) for m in MEANS}
        places = evenly(np.arange(len(self.sample)), _EXAMPLES)
        size = comparison.queries_at_once
        for start in range(0, len(places), size):
            rows = self.rows(places[start : start + size])
            competing = comparison.leave_out(rows)[scored]
            every = comparison.leave_out(rows, others_of(rows, len(self.store.counts), _LABELS_OF_EACH))[scored]
            for m, (cosines, means) in found.items():
                is_other = np.isneginf(competing.top_k_mean(m)) & np.isfinite(every.top_k_mean(m))
                cosines.append(every.mean_cosines()[is_other])
                means.append(every.top_k_mean(m)[is_other])
        return UnreadLabels.fit({m: (np.concatenate(x), np.concatenate(y)) for m, (x, y) in found.items() if x})


@dataclass(frozen=True)
class _Scores:
    """Scores the places of a sample block by block; see `sparse_fit.Blocks`."""

    scoring: _Scoring
    comparison: StoreComparison

    def __call__(self, places: IntArray) -> Iterator[HeldOutScores]:
        scoring = self.scoring
        spec, rows = scoring.spec, scoring.rows(places)
        for part, plain, mapped in self.comparison.blocks(rows):
            compared = mapped if spec.within_class_metric else plain
            scores: Sequence[Float64Array] = [expert.scores(compared) for expert in spec.experts]
            neighbors = plain.labels_of_nearest(NEIGHBORS)
            signals = signals_with_neighbors(neighbors, plain, mapped, scoring.knn_distance)
            yield HeldOutScores(places[part], rows.label_ids[part], list(scores), signals)
