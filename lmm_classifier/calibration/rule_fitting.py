"""Fits a decision rule: the within-class metric and the temperatures, all chosen by exact leave-one-out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lmm_classifier.calibration.fitted_rule import FittedRule
from lmm_classifier.calibration.predictions import SCORING, HeldOutPredictions, HeldOutScores
from lmm_classifier.calibration.temperature import fit_temperature, log_losses
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
_MAX_SCORES = 20_000_000  # examples times labels
_MAX_PAIRS, _MIN_ROWS = 2_000_000_000, 1000  # held-out examples times examples: 2,000 of a million, never less
_SCORES_FOR_SHRINKAGE = 4_000_000  # ten shrinkages are tried
_SAME = 1e-4  # nats: smaller differences are rounding
_BLOCK = 4096


@dataclass(frozen=True)
class ChosenMetric:
    """A metric, the scatter it was made of, and the leave-one-out log-loss, in nats, per shrinkage."""

    metric: WithinClassMetric
    scatter: WithinClassScatter
    losses: Mapping[float, float]


def choose_metric(spec: RuleSpec, gallery: Gallery, progress: ProgressCallback | None = None) -> ChosenMetric:
    """Choose the shrinkage by the leave-one-out log-loss of the prototype expert, which needs no similarities.

    `progress` is called after each of those that are tried.
    """
    scatter = fit_scatter(gallery.embeddings, gallery.label_ids, gallery.labels, spec.power_normalize)
    most = min(_ROWS_FOR_SHRINKAGE, max(_SCORES_FOR_SHRINKAGE // max(gallery.labels, 1), 1))
    rows = sample_rows(len(gallery.embeddings), gallery.labels, most)
    coordinates = scatter.coordinates(gallery.embeddings[rows]).astype(np.float64)
    label_ids = gallery.label_ids[rows]
    losses = {}
    for number, shrinkage in enumerate(SHRINKAGES, 1):
        losses[shrinkage] = _prototype_losses(scatter, shrinkage, gallery.counts, coordinates, label_ids)
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
    parts, done = [], 0
    downdate = (1 - chosen.metric.shrinkage) / chosen.scatter.freedom
    plain_blocks = LeaveOneOut(gallery).blocks(rows)
    metric_blocks = LeaveOneOut(in_metric, downdate, centered=True).blocks(rows)
    for (block, plain), (_, mapped) in zip(plain_blocks, metric_blocks):
        scores = [expert.scores(mapped if spec.within_class_metric else plain) for expert in spec.experts]
        signals = signals_held_out(density, block, plain, mapped)
        parts.append(HeldOutScores(block, gallery.label_ids[block], scores, signals))
        done += len(block)
        if progress is not None:
            progress(Progress(SCORING, done, len(rows)))
    return HeldOutScores.join(parts)


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


def sample_rows(count: int, labels: int, most: int) -> IntArray:
    """Return every row, or an even sample of as many as time and memory allow."""
    most = min(most, max(_MAX_SCORES // max(labels, 1), 1))
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
    scores = [
        downdate.to_means(coordinates[start : start + _BLOCK] * scale, label_ids[start : start + _BLOCK])[0]
        for start in range(0, len(label_ids), _BLOCK)
    ]
    joined = np.concatenate([*scores, np.empty((0, len(counts)))])
    return log_losses(joined, label_ids, fit_temperature(joined, label_ids))
