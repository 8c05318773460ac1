"""Fits a decision rule: the within-class metric and the temperatures, all chosen by exact leave-one-out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from lmm_classifier.calibration.fitted_rule import FittedRule
from lmm_classifier.calibration.predictions import SCORING, HeldOutPredictions, HeldOutScores
from lmm_classifier.calibration.sparse.sparse_scores import SparseScores
from lmm_classifier.calibration.temperature import (
    fit_sparse_temperature,
    fit_temperature,
    log_losses,
    sparse_log_losses,
)
from lmm_classifier.calibration.zero_shot_text import fit_text_weight
from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.numerics import log_softmax
from lmm_classifier.core.progress import Progress, ProgressCallback
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.leave_one_out import Downdate, LeaveOneOut
from lmm_classifier.neighbors.metric import WithinClassMetric, WithinClassScatter, fit_scatter
from lmm_classifier.neighbors.novelty import NeighborDensity, signals_held_out
from lmm_classifier.neighbors.voting import RuleSpec

SHRINKAGES = (0.03, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)
MAX_ROWS = 20_000  # examples held out, at most: a sample of them serves as well and bounds the time
_ROWS_FOR_SHRINKAGE = 5000
MAX_SCORES = 20_000_000  # examples times labels: 160 MB for each expert
_MAX_PAIRS, _MIN_ROWS = 2_000_000_000, 1000  # held-out examples times examples: 2,000 of a million, never less
_SCORES_FOR_SHRINKAGE, _LEAST_FOR_SHRINKAGE = 4_000_000, 1000  # ten shrinkages are tried
_SAME = 1e-4  # nats: smaller differences are rounding
_BLOCK = 4096
_ROWS_AT_ONCE, _SCORES_AT_ONCE = 512, 1 << 22  # examples, and examples times labels, in memory at a time


@dataclass(frozen=True)
class ChosenMetric:
    """A metric, the scatter it was made of, and the leave-one-out log-loss, in nats, per shrinkage."""

    metric: WithinClassMetric
    scatter: WithinClassScatter
    losses: Mapping[float, float]

    @property
    def downdate(self) -> float:
        """Return by how much an example that is left out changes the metric; see `leave_one_out.Downdate`."""
        return (1 - self.metric.shrinkage) / self.scatter.freedom


def choose_metric(
    spec: RuleSpec, gallery: Gallery, progress: ProgressCallback | None = None, rows: IntArray | None = None
) -> ChosenMetric:
    """Choose the shrinkage by the leave-one-out log-loss of the prototype expert, which needs no similarities.

    `progress` is called after each of those that are tried. `rows` are those to leave out; None: an even sample.
    """
    scatter = fit_scatter(gallery.embeddings, gallery.label_ids, gallery.labels, spec.power_normalize)
    if rows is None:
        rows = sample_rows(len(gallery.embeddings), rows_for_shrinkage(gallery.labels))
    return choose_shrinkage(scatter, gallery.counts, gallery.embeddings[rows], gallery.label_ids[rows], progress)


def rows_for_shrinkage(labels: int) -> int:
    """Return how many examples of so many labels choose the shrinkage."""
    return min(_ROWS_FOR_SHRINKAGE, max(_SCORES_FOR_SHRINKAGE // max(labels, 1), _LEAST_FOR_SHRINKAGE))


def choose_shrinkage(
    scatter: WithinClassScatter,
    counts: IntArray,
    embeddings: Float32Array,
    label_ids: IntArray,
    progress: ProgressCallback | None = None,
) -> ChosenMetric:
    """Choose the shrinkage of a scatter on some of its examples.

    Args:
        scatter: of all examples.
        counts: how many each label has, (C,).
        embeddings: of the n examples that are left out in turn, (n, d).
        label_ids: their labels, (n,).
        progress: called after each shrinkage.
    """
    coordinates = scatter.coordinates(embeddings).astype(np.float64)
    losses = {}
    for number, shrinkage in enumerate(SHRINKAGES, 1):
        losses[shrinkage] = _prototype_losses(scatter, shrinkage, counts, coordinates, label_ids)
        if progress is not None:
            progress(Progress("choosing a metric", number, len(SHRINKAGES)))
    means = {shrinkage: float(loss.mean()) if len(loss) else float("nan") for shrinkage, loss in losses.items()}
    return ChosenMetric(scatter.metric(_largest_of_the_best(losses)), scatter, means)


def score_held_out(
    spec: RuleSpec,
    chosen: ChosenMetric,
    gallery: Gallery,
    in_metric: Gallery,
    density: NeighborDensity,
    rows: IntArray,
    progress: ProgressCallback | None = None,
) -> HeldOutScores:
    """Score the examples `rows` by the experts, each exactly as if it were not in the index.

    `in_metric` is the gallery in the chosen metric. `progress` is called after each block of rows.
    """
    return HeldOutScores.join(
        list(reported_blocks(exact_blocks(spec, chosen, gallery, in_metric, density, rows), len(rows), progress))
    )


def exact_blocks(
    spec: RuleSpec,
    chosen: ChosenMetric,
    gallery: Gallery,
    in_metric: Gallery,
    density: NeighborDensity,
    rows: IntArray,
) -> Iterator[HeldOutScores]:
    """Yield what `score_held_out` returns, block by block."""
    downdate = chosen.downdate
    size = max(min(_ROWS_AT_ONCE, _SCORES_AT_ONCE // max(gallery.labels, 1)), 1)
    plain_blocks = LeaveOneOut(gallery).blocks(rows, size)
    metric_blocks = LeaveOneOut(in_metric, downdate, centered=True).blocks(rows, size)
    for (block, plain), (_, mapped) in zip(plain_blocks, metric_blocks):
        scores = [expert.scores(mapped if spec.within_class_metric else plain) for expert in spec.experts]
        signals = signals_held_out(density, block, plain, mapped)
        yield HeldOutScores(block, gallery.label_ids[block], scores, signals)


def reported_blocks(
    blocks: Iterable[HeldOutScores], total: int, progress: ProgressCallback | None
) -> Iterator[HeldOutScores]:
    """Yield blocks, and report after each how many of `total` examples are scored."""
    done = 0
    for block in blocks:
        yield block
        done += len(block.rows)
        if progress is not None:
            progress(Progress(SCORING, done, total))


def fit_rule(
    spec: RuleSpec,
    chosen: ChosenMetric,
    held_out: HeldOutScores,
    familiarity: Float64Array,
    embeddings: Float32Array,
    texts: Float32Array | None = None,
) -> tuple[FittedRule, HeldOutPredictions]:
    """Give each expert the temperature of least log-loss on held-out examples, and then their product.

    Args:
        spec: the rule to fit.
        chosen: its metric.
        held_out: scores of n held-out examples.
        familiarity: of the same examples, (n,).
        embeddings: of the same examples, (n, d) normalized.
        texts: embeddings of the label names, (C, d), if they may join as an expert.
    """
    if spec.fixed:
        temperatures = tuple(expert.temperature for expert in spec.experts)
    else:
        temperatures = tuple(fit_temperature(scores, held_out.label_ids) for scores in held_out.scores)
    experts = list(zip(held_out.scores, temperatures))
    text = None if texts is None else fit_text_weight(texts, embeddings, held_out.label_ids, experts)
    rule = FittedRule(chosen.metric, temperatures, 1.0, chosen.losses, text, spec)
    combined = rule.combine(held_out.scores, embeddings)
    if not spec.fixed:
        rule = replace(rule, temperature=fit_temperature(combined, held_out.label_ids))
    predictions = HeldOutPredictions(
        held_out.rows,
        held_out.label_ids,
        log_softmax(combined / rule.temperature),
        [log_softmax(scores / temperature) for scores, temperature in experts],
        familiarity,
    )
    return rule, predictions


def default_sample_size(count: int) -> int:
    """Return how many of `count` examples to hold out where a sample says enough."""
    return min(MAX_ROWS, max(_MAX_PAIRS // max(count, 1), _MIN_ROWS))


def densely(most: int, labels: int) -> int:
    """Return how many examples, at most `most`, have scores for so many labels that fit in memory."""
    return min(most, max(MAX_SCORES // max(labels, 1), 1))


def sample_rows(count: int, most: int) -> IntArray:
    """Return every row, or an even sample of `most` of them."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def _largest_of_the_best(losses: Mapping[float, Float64Array]) -> float:
    """Choose the largest shrinkage whose mean loss is within one standard error of the least.

    The one-standard-error rule (Breiman, Friedman, Olshen & Stone, 1984, sec. 3.4.3) takes the simplest metric among
    those that cannot be told apart. With few examples the least loss alone is often luck.
    """
    known = {shrinkage: loss for shrinkage, loss in losses.items() if len(loss)}
    if not known:
        return SHRINKAGES[-1]
    best = min(known, key=lambda shrinkage: float(known[shrinkage].mean()))

    def is_as_good(shrinkage: float) -> bool:
        excess = known[shrinkage] - known[best]
        return bool(excess.mean() <= excess.std() / np.sqrt(len(excess)) + _SAME)

    return max(value for value in known if value == best or (value > best and is_as_good(value)))


def _prototype_losses(
    scatter: WithinClassScatter, shrinkage: float, counts: IntArray, coordinates: Float64Array, label_ids: IntArray
) -> Float64Array:
    """Return the losses (n,) of the prototype expert for examples in `coordinates` (n, r).

    Along these axes a metric is only a scale.
    """
    scale = scatter.scale(shrinkage)
    downdate = Downdate.of(counts, scatter.means_along * scale, (1 - shrinkage) / scatter.freedom, centered=True)
    is_dense = len(label_ids) * len(counts) <= _SCORES_FOR_SHRINKAGE
    size = _BLOCK if is_dense else max(_SCORES_FOR_SHRINKAGE // len(counts), 1)
    scores = (
        (downdate.to_means(coordinates[start : start + size] * scale, label_ids[start : start + size])[0], start)
        for start in range(0, len(label_ids), size)
    )
    if is_dense:
        joined = np.concatenate([*(part for part, _ in scores), np.empty((0, len(counts)))])
        return log_losses(joined, label_ids, fit_temperature(joined, label_ids))
    sparse = SparseScores.join([SparseScores.of(part, label_ids[start : start + size]) for part, start in scores])
    return sparse_log_losses(sparse, label_ids, fit_sparse_temperature(sparse, label_ids))
