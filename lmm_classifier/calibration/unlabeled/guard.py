"""Whether unlabeled images may help to fit a metric: only where they are expected to help."""

from __future__ import annotations

from dataclasses import dataclass

from lmm_classifier.calibration.cross_fitting import score_folds, stratified_folds
from lmm_classifier.calibration.rule_fitting import ChosenMetric, fit_rule
from lmm_classifier.core.arrays import IntArray
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.metric import fit_scatter
from lmm_classifier.neighbors.novelty import Familiarity, NeighborDensity
from lmm_classifier.neighbors.unlabeled_scatter import ASSIGNED_SHRINKAGE
from lmm_classifier.neighbors.voting import make_rule

FOLDS = 4
LEAST_ACCURACY = 0.5  # cross-fitted: where the examples are wrong more often, unlabeled images are assigned wrongly
MOST_PER_LABEL = 30  # examples, on average: with more of them nothing is gained


@dataclass(frozen=True, slots=True)
class Guard:
    """What decides whether unlabeled images may help to fit the metric of an encoder."""

    refusal: str  # why they may not; empty: they may
    examples_per_label: float
    accuracy: float | None  # of the examples, cross-fitted without unlabeled images, 0 to 1; None: not measured

    @classmethod
    def of(cls, config: RetrievalConfig, index: Index, images: int) -> Guard:
        """Judge an index with the vectors of one encoder, for a number of unlabeled images."""
        gallery = index.gallery
        per_label = len(index) / max(gallery.labels, 1)
        spec = make_rule(config, gallery.label_ids, gallery.labels)
        if not spec.within_class_metric:
            return cls(f"rule {config.rule} does not use the metric", per_label, None)
        if not isinstance(index.transform, IdentityTransform):
            return cls("its vectors are whitened by the examples already", per_label, None)
        if gallery.labels < 2 or len(index) < FOLDS:
            return cls(f"the dataset has {gallery.labels} labels and {len(index)} examples", per_label, None)
        if not images:
            return cls("no unlabeled image is there", per_label, None)
        if per_label >= MOST_PER_LABEL:
            found = f"{per_label:.0f} examples per label, and from {MOST_PER_LABEL} on nothing is gained"
            return cls(found, per_label, None)
        accuracy = cross_fitted_accuracy(config, index, few_folds(index))
        if accuracy < LEAST_ACCURACY:
            found = f"cross-fitted accuracy {accuracy:.1%}, expected at least {LEAST_ACCURACY:.0%}"
            return cls(found, per_label, accuracy)
        return cls("", per_label, accuracy)


def few_folds(index: Index) -> list[IntArray]:
    """Return the rows of each of the folds that the guard and the virtual splits use."""
    return stratified_folds(index.gallery.label_ids, FOLDS)


def cross_fitted_accuracy(config: RetrievalConfig, index: Index, folds: list[IntArray]) -> float:
    """Return the accuracy of the examples, each fold scored by the others in the metric that assigns images."""
    gallery = index.gallery
    spec = make_rule(config, gallery.label_ids, gallery.labels)
    held_out = score_folds(
        lambda label_ids: make_rule(config, label_ids, gallery.labels),
        ASSIGNED_SHRINKAGE,
        index.transform.fitter,
        index.vectors(),
        gallery,
        [(rows, rows) for rows in folds],
    )
    familiarity = Familiarity.fit(NeighborDensity.of(gallery).knn_distance, held_out.signals)
    scatter = fit_scatter(gallery.embeddings, gallery.label_ids, gallery.labels, spec.power_normalize)
    chosen = ChosenMetric(scatter.metric(ASSIGNED_SHRINKAGE), scatter, {})
    values = familiarity.of_signals(held_out.signals)
    return float(fit_rule(spec, chosen, held_out, values, gallery.embeddings[held_out.rows])[1].correct.mean())
