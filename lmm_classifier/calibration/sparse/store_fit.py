"""Fits a rule to the rows of a store, by leave-one-out through the comparison that answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lmm_classifier.calibration.fit import Fit, FittedPart, fuse_fits
from lmm_classifier.calibration.fusion.encoder_fit import EncoderFit
from lmm_classifier.calibration.predictions import HeldOutPredictions, HeldOutScores, SparsePredictions
from lmm_classifier.calibration.repeated_objects import RepeatedObjects
from lmm_classifier.calibration.rule_fitting import (
    ChosenMetric,
    choose_shrinkage,
    densely,
    fit_rule,
    reported_blocks,
    rows_for_shrinkage,
)
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
from lmm_classifier.core.progress import ProgressCallback, part_of
from lmm_classifier.core.protocols import RowStore
from lmm_classifier.core.rows import RowBlock
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gathering.gathered import UnreadLabels
from lmm_classifier.neighbors.gathering.reading import ReadingLimits
from lmm_classifier.neighbors.gathering.store_rule import make_store_rule
from lmm_classifier.neighbors.gathering.store_similarities import StoreComparison
from lmm_classifier.neighbors.novelty import NEIGHBORS, Familiarity, signals_with_neighbors
from lmm_classifier.neighbors.voting import RuleSpec

_EXAMPLES, _LABELS_OF_EACH = 256, 16  # that tell what is usual for labels that are not read


@dataclass(frozen=True)
class StoreFitting:
    """How a rule is fitted through stores of rows."""

    limits: ReadingLimits = field(default_factory=ReadingLimits)  # which rows are read; answers take the default
    most: int | None = None  # examples to leave out; None: 20,000, fewer where there are very many labels
    # Whether `SparsePredictions` will do. The probabilities of all labels, which a fusion of several encoders needs
    # too, are of fewer examples.
    sparse: bool = True
    # Whether the norms of the rows in the chosen metric may be stored with them, so that answers are cheaper.
    store_norms: bool = False


def fit_through_stores(
    config: RetrievalConfig,
    stores: Sequence[RowStore],
    how: StoreFitting | None = None,
    texts: Sequence[Float32Array | None] = (),
    progress: ProgressCallback | None = None,
) -> Fit:
    """Fit the configured rule to the rows of stores: the same N rows, with the vectors of each of several encoders.

    Args:
        config: names the rule.
        stores: N rows of C labels, by encoder.
        how: what is read, and of how many examples.
        texts: for each encoder, embeddings of the label names, (C, d), that join as an expert where they help.
        progress: called between two blocks of examples.

    Returns:
        The calibration, and predictions of the examples, whose `rows` are ids of the stores.

    Raises:
        ConfigError: a store cannot answer the rule.
    """
    how, labels = how or StoreFitting(), len(stores[0].counts)
    spec = make_store_rule(config, labels, how.limits)
    most = rows_through_shortlist(labels) if how.most is None else how.most
    sparse = how.sparse and len(stores) == 1
    how = replace(how, most=most if sparse else densely(most, labels), sparse=sparse)
    parts = [
        _fit_through(spec, how, store, text, part_of(progress, place, len(stores)))
        for place, (store, text) in enumerate(zip(stores, texts or [None] * len(stores), strict=True))
    ]
    equal = len(stores) > 1 and any(RepeatedObjects.of_store(store).likely for store in stores)
    return fuse_fits(parts, stores[0].counts, equal, spec.name, config.cascade)


def _fit_through(
    spec: RuleSpec, how: StoreFitting, store: RowStore, texts: Float32Array | None, progress: ProgressCallback | None
) -> FittedPart:
    labels = len(store.counts)
    scatter = fit_store_scatter(store, spec.power_normalize)
    chosen = choose_shrinkage(
        scatter, store.counts, *_vectors_of(sample_of_store(store, rows_for_shrinkage(labels))), progress
    )
    store = store.with_norms(chosen.metric.digest, chosen.metric.norms, store=how.store_norms)
    sample = sample_of_store(store, how.most or 0)
    vectors, _ = _vectors_of(sample)
    densities = label_densities(store)
    scoring = _Scoring(spec, chosen, store, how.limits, sample, densities)
    comparison = scoring.comparison()
    unread = scoring.unread_labels(comparison)
    scores, rows = _Scores(scoring, comparison.with_unread(unread)), np.arange(len(sample))
    means = scatter.means if chosen.metric.power_normalize else None
    if how.sparse:
        fitted = fit_sparsely(spec, chosen, LeftOutExamples(scores, rows, vectors), densities, texts, progress)
        fit = EncoderFit(fitted.rule, fitted.familiarity, None, unread, means)
        return fit, _with_ids(fitted.predictions, sample.ids)
    held_out = HeldOutScores.join(list(reported_blocks(scores(rows), len(rows), progress)))
    familiarity = Familiarity.fit(densities, held_out.signals)
    of_examples = familiarity.of_signals(held_out.signals)
    rule, predictions = fit_rule(spec, chosen, held_out, of_examples, vectors[held_out.rows], texts)
    return EncoderFit(rule, familiarity, None, unread, means), replace(predictions, rows=sample.ids[predictions.rows])


def _with_ids(of: SparsePredictions, ids: IntArray) -> HeldOutPredictions:
    """Return predictions whose rows are ids."""
    logs = of.sparse
    return of if logs is None else of.from_scores(ids[of.rows], of.label_ids, logs, of.familiarity)


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
