"""Fits a calibration to an index, by one of three strategies: leave-one-out, cross-fitting, or a held-out set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.cross_fitting import group_folds, reported, score_folds, score_queries, stratified_folds
from lmm_classifier.calibration.fusion.cascade import Cascade, FusionFit, Stage
from lmm_classifier.calibration.fusion.encoder_fit import EncoderFit
from lmm_classifier.calibration.fusion.encoder_fusion import EncoderFusion
from lmm_classifier.calibration.guarantees.held_out_results import HeldOutResults
from lmm_classifier.calibration.predictions import HeldOutPredictions, HeldOutScores, SparsePredictions
from lmm_classifier.calibration.repeated_objects import RepeatedObjects
from lmm_classifier.calibration.rule_fitting import (
    ChosenMetric,
    choose_metric,
    densely,
    exact_blocks,
    fit_rule,
    reported_blocks,
)
from lmm_classifier.calibration.sparse.sample_size import SampleSize
from lmm_classifier.calibration.sparse.sampling import LowestContents
from lmm_classifier.calibration.sparse.shortlist_blocks import (
    rescored_search,
    rows_by_graph,
    shortlist_blocks,
    unread_labels,
)
from lmm_classifier.calibration.sparse.sparse_fit import Blocks, LeftOutExamples, fit_sparsely
from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.progress import ProgressCallback, part_of
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.hnsw import HnswGraph, open_graph
from lmm_classifier.index.vector_index import SEARCH_FROM, Index
from lmm_classifier.neighbors.brute_force import BruteForceSearch
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.gathering.gathered import UnreadLabels
from lmm_classifier.neighbors.metric import gallery_in_metric, is_projected, norms_in
from lmm_classifier.neighbors.novelty import Familiarity, NeighborDensity, SearchRows
from lmm_classifier.neighbors.voting import RuleSpec, make_rule

Fit = tuple[Calibration, HeldOutPredictions]
FittedPart = tuple[EncoderFit, HeldOutPredictions]  # of one encoder
Each = Sequence[Float32Array | None]  # something for each encoder


def fit_by_leave_one_out(
    config: RetrievalConfig,
    indexes: Sequence[Index],
    most: int | LowestContents | None = None,
    texts: Each = (),
    other_vectors: Each = (),
    progress: ProgressCallback | None = None,
    *,
    sparse: bool = False,
) -> Fit:
    """Fit the configured rule to an index, with each example held out in turn.

    An example whose content the index holds twice under one label is not held out: its copy would predict it.

    Leave-one-out is exact where the encoder's own space is searched. Where the transform of the index was fitted to
    the examples, they are held out by folds instead. Where the dataset seems to hold several images of the same
    objects, leave-one-out favors the encoder that recognizes objects, so several encoders have equal weights.

    Where answers come from a shortlist (`retrieval.search`), the examples are compared through a shortlist too.

    Args:
        config: names the rule.
        indexes: the examples, with the vectors of each encoder.
        most: examples to hold out; by default 20,000, and fewer where there are very many. `LowestContents` names the
            same ones as through a store.
        texts: for each encoder, embeddings of the label names, (C, d), that join as an expert where they help.
        other_vectors: for each encoder, further vectors (m, dim) that the transform of the index was fitted to.
        progress: called between two blocks of held-out examples.
        sparse: where one encoder has so many labels that the probabilities of all would not fit in memory, return
            `SparsePredictions`, of more examples. Otherwise fewer examples are held out.
    """
    size = SampleSize(most, sparse and len(indexes) == 1)
    parts = [
        _leave_one_out(config, *given, size, part_of(progress, place, len(indexes)))
        for place, given in enumerate(zip(indexes, _each(texts, indexes), _each(other_vectors, indexes)))
    ]
    equal = len(indexes) > 1 and any(RepeatedObjects.of_index(index).likely for index in indexes)
    return fuse_parts(config, indexes, parts, equal)


def _leave_one_out(
    config: RetrievalConfig,
    index: Index,
    texts: Float32Array | None,
    other_vectors: Float32Array | None,
    size: SampleSize,
    progress: ProgressCallback | None,
) -> FittedPart:
    is_exact = isinstance(index.transform, IdentityTransform) or len(index) < 2
    graph = open_graph(config, index) if is_exact else None
    basis = _Basis.of(config, index, size if is_exact else SampleSize(size.most), graph, progress)
    if not is_exact:
        folds = stratified_folds(index.gallery.label_ids)
        return basis.finish(basis.score_folds(folds, other_vectors, progress), index.gallery.embeddings, texts)
    in_metric = gallery_in_metric(basis.chosen.metric, index.gallery, basis.norms)
    blocks, unread = basis.left_out(in_metric, graph)
    sample, embeddings = basis.sample, index.gallery.embeddings
    if size.sparse and len(sample) > densely(len(sample), index.gallery.labels):
        examples, knn_distance = LeftOutExamples(blocks, sample, embeddings), basis.density.knn_distance
        fitted = fit_sparsely(basis.spec, basis.chosen, examples, knn_distance, texts, progress)
        return EncoderFit(fitted.rule, fitted.familiarity, basis.norms, unread), fitted.predictions
    held_out = HeldOutScores.join(list(reported_blocks(blocks(sample), len(sample), progress)))
    return basis.finish(held_out, embeddings, texts, unread)


def fit_by_groups(
    config: RetrievalConfig,
    indexes: Sequence[Index],
    groups: IntArray,
    texts: Each = (),
    progress: ProgressCallback | None = None,
) -> Fit:
    """Fit the configured rule to an index, with whole groups of examples held out together.

    `groups` (N,) numbers the examples of one object alike (scikit-learn: `GroupKFold`). `progress` is called after each
    fold.
    """
    parts = []
    for place, (index, names) in enumerate(zip(indexes, _each(texts, indexes))):
        of_part = part_of(progress, place, len(indexes))
        basis = _Basis.of(config, index, SampleSize(), None, of_part)
        scores = basis.score_folds(group_folds(groups), None, of_part)
        parts.append(basis.finish(scores, index.gallery.embeddings, names))
    calibration, predictions = fuse_parts(config, indexes, parts, equal=False)
    return replace(calibration, held_out=HeldOutResults.of(predictions, groups)), predictions


def fit_on_held_out(
    config: RetrievalConfig,
    indexes: Sequence[Index],
    vectors: Sequence[Float32Array],
    label_ids: IntArray,
    texts: Each = (),
    progress: ProgressCallback | None = None,
) -> Fit:
    """Fit the configured rule on other images: vectors (n, dim) of each encoder, and their true labels (n,)."""
    parts = []
    for place, (index, of_images, names) in enumerate(zip(indexes, vectors, _each(texts, indexes), strict=True)):
        basis = _Basis.of(config, index, SampleSize(), None, part_of(progress, place, len(indexes)))
        gallery, metric = index.gallery, basis.chosen.metric
        embeddings = index.transform.transform(of_images)
        in_metric = gallery_in_metric(metric, gallery, basis.norms)
        knn_distance = basis.density.knn_distance
        held_out = score_queries(basis.spec, metric, gallery, in_metric, knn_distance, embeddings, label_ids)
        parts.append(basis.finish(held_out, embeddings, names))
    return fuse_parts(config, indexes, parts, equal=False)


def fusion_fit(counts: IntArray, predictions: HeldOutPredictions, equal: bool) -> FusionFit:
    """Return what fits fusions to the predictions of one encoder or several; labels have `counts` (C,) examples."""
    each = predictions.each or (predictions,)
    # an example that is alone under its label has no chance when it is held out, whatever the encoder
    countable = counts[each[0].label_ids] > 1
    return FusionFit(each, countable, equal)


def fuse(fits: Sequence[EncoderFit], fusion: FusionFit, rule: str, cascade: bool) -> Fit:
    """Fuse what is fitted to several encoders, or to one.

    Args:
        fits: of each encoder.
        fusion: fits their weights to their predictions.
        rule: the name of the configured rule.
        cascade: ask each next encoder only where those before are unsure.
    """
    if isinstance(predictions := fusion.each[0], SparsePredictions):  # of one encoder
        alone = Cascade((Stage((0,), EncoderFusion(np.ones(1))),))
        scores = np.sort(predictions.true_label_probabilities)
        return Calibration(tuple(fits), alone, HeldOutResults.of(predictions), scores, rule), predictions
    useful = fusion.useful()
    steps = [useful[:length] for length in range(1, len(useful) + 1)] if cascade else [useful]
    fitted, fused, _ = fusion.cascade(steps)
    conformity_scores = np.sort(fused.true_label_probabilities)
    return Calibration(tuple(fits), fitted, HeldOutResults.of(fused), conformity_scores, rule), fused


def fuse_parts(config: RetrievalConfig, indexes: Sequence[Index], parts: Sequence[FittedPart], equal: bool) -> Fit:
    """Fuse what is fitted to each of several encoders, or to one, and held out the same examples."""
    gallery = indexes[0].gallery
    spec = make_rule(config, gallery.label_ids, gallery.labels)
    return fuse_fits(parts, gallery.counts, equal, spec.name, config.cascade)


def fuse_fits(parts: Sequence[FittedPart], counts: IntArray, equal: bool, rule: str, cascade: bool) -> Fit:
    """Do the same by what is needed of the examples: `counts` (C,) of the labels, and the name of the rule."""
    predictions = parts[0][1]
    if len(parts) > 1:  # strategies differ in the order in which they hold out the same examples
        each = tuple(part.in_order_of_rows() for _, part in parts)
        predictions = replace(each[0], each=each)
    return fuse([fit for fit, _ in parts], fusion_fit(counts, predictions, equal), rule, cascade)


def _each(values: Each, indexes: Sequence[Index]) -> Each:
    return values or [None] * len(indexes)


@dataclass(frozen=True)
class _Basis:
    """What every strategy needs: the rule with its metric, and the density around each example."""

    config: RetrievalConfig
    index: Index
    spec: RuleSpec
    chosen: ChosenMetric
    sample: IntArray  # rows to hold out
    density: NeighborDensity
    norms: Float64Array | None  # (N,) in the metric, where it is projected

    @classmethod
    def of(
        cls,
        config: RetrievalConfig,
        index: Index,
        size: SampleSize,
        graph: HnswGraph | None,
        progress: ProgressCallback | None = None,
    ) -> _Basis:
        gallery = index.gallery
        spec = make_rule(config, gallery.label_ids, gallery.labels)
        chosen = choose_metric(spec, gallery, progress, size.judges(index))
        sample = size.sample(index, graph is not None)
        search: SearchRows | None = None
        if graph is not None:
            search = rescored_search(gallery, graph.search)
        elif len(index) >= SEARCH_FROM:
            search = BruteForceSearch(gallery.embeddings).search
        density = NeighborDensity.of(gallery, sample, search, progress)
        del search  # it holds a quarter of the matrix
        norms = norms_in(chosen.metric, gallery) if is_projected(chosen.metric, gallery) else None
        return cls(config, index, spec, chosen, sample, density, norms)

    def left_out(self, in_metric: Gallery, graph: HnswGraph | None) -> tuple[Blocks, UnreadLabels]:
        """Return what scores examples left out one by one, through a shortlist where answers come from one."""
        gallery, rule = self.index.gallery, (self.spec, self.chosen)
        if graph is None:
            return partial(exact_blocks, *rule, gallery, in_metric, self.density), UnreadLabels()
        find_rows = rows_by_graph(gallery, graph.search)
        unread = unread_labels(*rule, (gallery, in_metric), find_rows, self.sample)
        return partial(shortlist_blocks, *rule, (gallery, in_metric), self.density, find_rows, unread), unread

    def score_folds(
        self, folds: list[IntArray], other_vectors: Float32Array | None, progress: ProgressCallback | None
    ) -> HeldOutScores:
        """Score the sampled rows of each fold by the other folds."""
        gallery = self.index.gallery
        return score_folds(
            lambda label_ids: make_rule(self.config, label_ids, gallery.labels),
            self.chosen.metric.shrinkage,
            self.index.transform.fitter,
            self.index.vectors(),
            gallery,
            reported([(rows, np.intersect1d(rows, self.sample)) for rows in folds], progress),
            other_vectors,
        )

    def finish(
        self,
        held_out: HeldOutScores,
        embeddings: Float32Array,
        texts: Float32Array | None,
        unread: UnreadLabels | None = None,
    ) -> FittedPart:
        """Fit temperatures and familiarity to the scores of held-out examples."""
        familiarity = Familiarity.fit(self.density.knn_distance, held_out.signals)
        of_examples = familiarity.of_signals(held_out.signals)
        rule, predictions = fit_rule(self.spec, self.chosen, held_out, of_examples, embeddings[held_out.rows], texts)
        return EncoderFit(rule, familiarity, self.norms, unread or UnreadLabels()), predictions
