"""Fits a calibration to an index, by one of three strategies: leave-one-out, cross-fitting, or a held-out set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.cross_fitting import group_folds, reported, score_folds, score_queries, stratified_folds
from lmm_classifier.calibration.fusion.cascade import FusionFit
from lmm_classifier.calibration.fusion.encoder_fit import EncoderFit
from lmm_classifier.calibration.guarantees.held_out_results import HeldOutResults
from lmm_classifier.calibration.predictions import HeldOutPredictions, HeldOutScores
from lmm_classifier.calibration.repeated_objects import RepeatedObjects
from lmm_classifier.calibration.rule_fitting import (
    ChosenMetric,
    choose_metric,
    default_sample_size,
    fit_rule,
    sample_rows,
    score_held_out,
)
from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.progress import ProgressCallback, part_of
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.vector_index import SEARCH_FROM, Index
from lmm_classifier.neighbors.brute_force import BruteForceSearch
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.metric import gallery_in_metric, is_projected, norms_in
from lmm_classifier.neighbors.novelty import Familiarity, NeighborDensity
from lmm_classifier.neighbors.voting import RuleSpec, make_rule

Fit = tuple[Calibration, HeldOutPredictions]
FittedPart = tuple[EncoderFit, HeldOutPredictions]  # of one encoder
Each = Sequence[Float32Array | None]  # something for each encoder


def fit_by_leave_one_out(
    config: RetrievalConfig,
    indexes: Sequence[Index],
    most: int | None = None,
    texts: Each = (),
    other_vectors: Each = (),
    progress: ProgressCallback | None = None,
) -> Fit:
    """Fit the configured rule to an index, with each example held out in turn.

    An example whose content the index holds twice under one label is not held out: its copy would predict it.

    Leave-one-out is exact where the encoder's own space is searched. Where the transform of the index was fitted to
    the examples, they are held out by folds instead. Where the dataset seems to hold several images of the same
    objects, leave-one-out favors the encoder that recognizes objects, so several encoders have equal weights.

    Args:
        config: names the rule.
        indexes: the examples, with the vectors of each encoder.
        most: examples to hold out; by default 20,000, and fewer where there are very many.
        texts: for each encoder, embeddings of the label names, (C, d), that join as an expert where they help.
        other_vectors: for each encoder, further vectors (m, dim) that the transform of the index was fitted to.
        progress: called between two blocks of held-out examples.
    """
    parts = [
        _leave_one_out(config, *given, most, part_of(progress, place, len(indexes)))
        for place, given in enumerate(zip(indexes, _each(texts, indexes), _each(other_vectors, indexes)))
    ]
    equal = len(indexes) > 1 and any(RepeatedObjects.of_index(index).likely for index in indexes)
    return fuse_parts(config, indexes, parts, equal)


def _leave_one_out(
    config: RetrievalConfig,
    index: Index,
    texts: Float32Array | None,
    other_vectors: Float32Array | None,
    most: int | None,
    progress: ProgressCallback | None,
) -> FittedPart:
    basis = _Basis.of(config, index, most, progress)
    if not isinstance(index.transform, IdentityTransform) and len(index) > 1:
        folds = stratified_folds(index.gallery.label_ids)
        return basis.finish(basis.score_folds(folds, other_vectors, progress), index.gallery.embeddings, texts)
    gallery, metric = index.gallery, basis.chosen.metric
    in_metric = gallery_in_metric(metric, gallery, basis.norms)
    held_out = score_held_out(basis.spec, basis.chosen, gallery, in_metric, basis.density, basis.sample, progress)
    return basis.finish(held_out, gallery.embeddings, texts)


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
        basis = _Basis.of(config, index, None, of_part)
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
        basis = _Basis.of(config, index, None, part_of(progress, place, len(indexes)))
        gallery, metric = index.gallery, basis.chosen.metric
        embeddings = index.transform.transform(of_images)
        in_metric = gallery_in_metric(metric, gallery, basis.norms)
        knn_distance = basis.density.knn_distance
        held_out = score_queries(basis.spec, metric, gallery, in_metric, knn_distance, embeddings, label_ids)
        parts.append(basis.finish(held_out, embeddings, names))
    return fuse_parts(config, indexes, parts, equal=False)


def fusion_fit(indexes: Sequence[Index], predictions: HeldOutPredictions, equal: bool) -> FusionFit:
    """Return what fits fusions to the predictions of several encoders, or of one."""
    each = predictions.each or (predictions,)
    # an example that is alone under its label has no chance when it is held out, whatever the encoder
    countable = indexes[0].gallery.counts[each[0].label_ids] > 1
    return FusionFit(each, countable, equal)


def fuse(fits: Sequence[EncoderFit], fusion: FusionFit, rule: str, cascade: bool) -> Fit:
    """Fuse what is fitted to several encoders, or to one.

    Args:
        fits: of each encoder.
        fusion: fits their weights to their predictions.
        rule: the name of the configured rule.
        cascade: ask each next encoder only where those before are unsure.
    """
    useful = fusion.useful()
    steps = [useful[:length] for length in range(1, len(useful) + 1)] if cascade else [useful]
    fitted, fused, _ = fusion.cascade(steps)
    conformity_scores = np.sort(fused.true_label_probabilities)
    return Calibration(tuple(fits), fitted, HeldOutResults.of(fused), conformity_scores, rule), fused


def fuse_parts(config: RetrievalConfig, indexes: Sequence[Index], parts: Sequence[FittedPart], equal: bool) -> Fit:
    """Fuse what is fitted to each of several encoders, or to one, and held out the same examples."""
    predictions = parts[0][1]
    if len(parts) > 1:  # strategies differ in the order in which they hold out the same examples
        each = tuple(part.in_order_of_rows() for _, part in parts)
        predictions = replace(each[0], each=each)
    spec = make_rule(config, indexes[0].gallery.label_ids, indexes[0].gallery.labels)
    return fuse([fit for fit, _ in parts], fusion_fit(indexes, predictions, equal), spec.name, config.cascade)


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
        cls, config: RetrievalConfig, index: Index, most: int | None, progress: ProgressCallback | None = None
    ) -> _Basis:
        gallery = index.gallery
        spec = make_rule(config, gallery.label_ids, gallery.labels)
        chosen = choose_metric(spec, gallery, progress)
        sample = sample_rows(len(index), gallery.labels, default_sample_size(len(index)) if most is None else most)
        sample = _without_copies(index, sample)
        search = BruteForceSearch(gallery.embeddings).search if len(index) >= SEARCH_FROM else None
        density = NeighborDensity.of(gallery, sample, search, progress)
        del search  # it holds a quarter of the matrix
        norms = norms_in(chosen.metric, gallery) if is_projected(chosen.metric, gallery) else None
        return cls(config, index, spec, chosen, sample, density, norms)

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

    def finish(self, held_out: HeldOutScores, embeddings: Float32Array, texts: Float32Array | None) -> FittedPart:
        """Fit temperatures and familiarity to the scores of held-out examples."""
        familiarity = Familiarity.fit(self.density.knn_distance, held_out.signals)
        of_examples = familiarity.of_signals(held_out.signals)
        rule, predictions = fit_rule(self.spec, self.chosen, held_out, of_examples, embeddings[held_out.rows], texts)
        return EncoderFit(rule, familiarity, self.norms), predictions


def _without_copies(index: Index, sample: IntArray) -> IntArray:
    """Return the rows of the sample whose content their label holds only once; all where fewer than half are left."""
    copies = Counter(zip(index.hashes, index.label_ids.tolist()))
    alone = [row for row in sample.tolist() if copies[index.hashes[row], int(index.label_ids[row])] == 1]
    return np.array(alone, np.int64) if 2 * len(alone) >= len(sample) else sample
