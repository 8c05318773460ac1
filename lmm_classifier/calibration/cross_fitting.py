"""Cross-fitting: examples are scored by a reference set that was fitted without their whole fold.

It serves where leave-one-out has no closed form: where the transform of the index was itself fitted to the examples,
and where examples come in groups (several images of one object) that must be held out together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from lmm_classifier.calibration.predictions import SCORING, HeldOutScores
from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.progress import Progress, ProgressCallback
from lmm_classifier.core.protocols import Similarities, TransformFitter
from lmm_classifier.neighbors.brute_force import BruteForceSearch
from lmm_classifier.neighbors.gallery import Gallery, directions
from lmm_classifier.neighbors.metric import WithinClassMetric, fit_scatter, gallery_in_metric
from lmm_classifier.neighbors.novelty import NeighborDensity, signals
from lmm_classifier.neighbors.shortlist import SHORTLIST, ShortlistSimilarities
from lmm_classifier.neighbors.voting import RuleSpec

Fold = tuple[IntArray, IntArray]  # the rows that are held out together, and those of them that are scored

_FOLDS = 10
_MANY = 2000  # examples from which fewer folds suffice: each is large enough
_FOLDS_OF_MANY = 5
_BLOCK = 256  # queries compared at a time


def score_folds(
    spec_for: Callable[[IntArray], RuleSpec],
    shrinkage: float,
    fitter: TransformFitter,
    vectors: Float32Array,
    gallery: Gallery,
    folds: Iterable[Fold],
    other_vectors: Float32Array | None = None,
) -> HeldOutScores:
    """Score the examples of each fold, with transform and metric fitted to the rows that are not held out.

    Args:
        spec_for: makes the rule for the labels (n,) of the other rows.
        shrinkage: of the metric, chosen on all examples.
        fitter: fits the transform of the index.
        vectors: of the encoder, (N, dim).
        gallery: the N examples.
        folds: rows to hold out, and those of them to score.
        other_vectors: further vectors (m, dim) that the transform is fitted to as well.
    """
    parts = []
    for held_out, scored in folds:
        if not len(scored):
            continue
        rest = np.setdiff1d(np.arange(len(vectors)), held_out)
        transform = fitter.fit(_Blocks(vectors, rest, other_vectors))
        others = Gallery(transform.transform(vectors[rest]), gallery.label_ids[rest], gallery.labels)
        spec = spec_for(others.label_ids)
        scatter = fit_scatter(others.embeddings, others.label_ids, others.labels, spec.power_normalize)
        metric = scatter.metric(shrinkage)
        knn_distance, in_metric = NeighborDensity.of(others).knn_distance, gallery_in_metric(metric, others)
        embeddings = transform.transform(vectors[scored])
        part = score_queries(spec, metric, others, in_metric, knn_distance, embeddings, gallery.label_ids[scored])
        parts.append(replace(part, rows=scored))
    return HeldOutScores.join(parts)


def reported(folds: Sequence[Fold], progress: ProgressCallback | None) -> Iterator[Fold]:
    """Yield the folds, and report after each one how many examples are scored."""
    done, total = 0, sum(len(scored) for _, scored in folds)
    for held_out, scored in folds:
        yield held_out, scored
        done += len(scored)
        if progress is not None:
            progress(Progress(SCORING, done, total))


def score_queries(
    spec: RuleSpec,
    metric: WithinClassMetric,
    gallery: Gallery,
    in_metric: Gallery,
    knn_distance: Float64Array,
    embeddings: Float32Array,
    label_ids: IntArray,
) -> HeldOutScores:
    """Score normalized embeddings (n, d) of other images, whose true labels are `label_ids` (n,).

    `in_metric` is the gallery in the metric, `knn_distance` (N,) that of the gallery's rows.
    """
    parts = []
    find_rows = BruteForceSearch(gallery.embeddings).search if spec.through_shortlist else None
    for start in range(0, len(embeddings), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(embeddings)))
        plain: Similarities
        if find_rows is None:
            plain = compared = gallery.compare(embeddings[rows])
            mapped: Similarities = in_metric.compare(metric.whiten(compared.embeddings))
        else:  # a graph finds nearly the same rows
            nearby = find_rows(directions(embeddings[rows])[0], SHORTLIST)[0]
            plain = listed = ShortlistSimilarities.of(gallery, embeddings[rows], nearby)
            mapped = ShortlistSimilarities.of(in_metric, metric.whiten(listed.embeddings), nearby)
        scores = [expert.scores(mapped if spec.within_class_metric else plain) for expert in spec.experts]
        parts.append(HeldOutScores(rows, label_ids[rows], scores, signals(plain, mapped, knn_distance)))
    return HeldOutScores.join(parts)


class _Blocks:
    """Walks over some rows of a matrix and over other vectors, from the start with each call (`protocols.Rows`)."""

    def __init__(self, vectors: Float32Array, rows: IntArray, other_vectors: Float32Array | None) -> None:
        self._vectors = vectors
        self._rows = rows
        self._others = vectors[:0] if other_vectors is None else other_vectors

    def __call__(self) -> Iterator[Float32Array]:
        for start in range(0, len(self._rows), 1024):
            yield self._vectors[self._rows[start : start + 1024]]
        for start in range(0, len(self._others), 1024):
            yield self._others[start : start + 1024]


def stratified_folds(label_ids: IntArray, count: int | None = None) -> list[IntArray]:
    """Deal rows (N,) into `count` folds that all have the same mixture of labels; by default 10, or 5 of many rows."""
    if count is None:
        count = _FOLDS if len(label_ids) < _MANY else _FOLDS_OF_MANY
    count = min(count, len(label_ids))
    shuffled = np.random.default_rng(0).permutation(len(label_ids))
    order = shuffled[np.argsort(label_ids[shuffled], kind="stable")]
    return [np.sort(order[number::count]) for number in range(count)]


def group_folds(groups: IntArray) -> list[IntArray]:
    """Deal whole groups (N,) into folds of about equal size, the largest group first."""
    names, sizes = np.unique(groups, return_counts=True)
    count = min(_FOLDS, len(names))
    loads, fold_of_group = np.zeros(count), np.empty(len(names), np.int64)
    for group in np.argsort(-sizes, kind="stable"):
        fold_of_group[group] = loads.argmin()
        loads[fold_of_group[group]] += sizes[group]
    fold_of_row = fold_of_group[np.searchsorted(names, groups)]
    return [np.flatnonzero(fold_of_row == number) for number in range(count)]
