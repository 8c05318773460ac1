"""Fits a rule to scores that come block by block, and keeps only what is sparse of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from lmm_classifier.calibration.fitted_rule import FittedRule
from lmm_classifier.calibration.predictions import HeldOutScores, SparsePredictions
from lmm_classifier.calibration.rule_fitting import ChosenMetric, densely, reported_blocks
from lmm_classifier.calibration.sparse.sparse_scores import SparseScores
from lmm_classifier.calibration.temperature import fit_sparse_temperature
from lmm_classifier.calibration.zero_shot_text import fit_text_weight
from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.progress import ProgressCallback
from lmm_classifier.neighbors.novelty import Familiarity
from lmm_classifier.neighbors.voting import RuleSpec

_PILOT = 4000  # examples that fit the temperature of each expert: one number, so that more would not help

Blocks = Callable[[IntArray], Iterator[HeldOutScores]]  # rows -> their scores, block by block


@dataclass(frozen=True)
class LeftOutExamples:
    """Examples to leave out in turn, and what scores them."""

    blocks: Blocks
    rows: IntArray  # (n,)
    embeddings: Float32Array  # normalized; `embeddings[rows]` are those of the examples


@dataclass(frozen=True)
class SparseFit:
    """What is fitted to n examples whose dense scores do not fit in memory."""

    rule: FittedRule
    familiarity: Familiarity
    predictions: SparsePredictions


def fit_sparsely(
    spec: RuleSpec,
    chosen: ChosenMetric,
    examples: LeftOutExamples,
    knn_distance: Float64Array,
    texts: Float32Array | None = None,
    progress: ProgressCallback | None = None,
) -> SparseFit:
    """Fit temperatures and familiarity as `fit_rule` does, with the dense scores of one block in memory at a time.

    The temperatures of the experts are fitted on a part of the examples. With these the product of the experts is exact
    for all labels, and only then it is made sparse. So an error remains only in its own temperature and in the sum of
    improbable labels; see `SparseScores.rest_bounds`.

    Args:
        spec: the rule.
        chosen: its metric.
        examples: the n examples to leave out.
        knn_distance: of the examples or of the labels, for the familiarity.
        texts: embeddings of the label names, (C, d), if they may join as an expert.
        progress: called after each block.
    """
    labels, progress_of_all = len(chosen.scatter.means), progress
    if len(examples.rows) <= densely(len(examples.rows), labels):  # then nothing is scored twice
        scored = list(reported_blocks(examples.blocks(examples.rows), len(examples.rows), progress))
        examples, progress_of_all = replace(examples, blocks=lambda _: iter(scored)), None
    rule = _with_temperatures(spec, chosen, examples)
    if texts is not None:
        rule = _with_text(rule, examples, texts)
    parts, of_rows, label_ids, signals = list[SparseScores](), list[IntArray](), list[IntArray](), list[Float64Array]()
    for block in reported_blocks(examples.blocks(examples.rows), len(examples.rows), progress_of_all):
        parts.append(SparseScores.of(rule.combine(block.scores, examples.embeddings[block.rows]), block.label_ids))
        of_rows.append(block.rows)
        label_ids.append(block.label_ids)
        signals.append(block.signals)
    combined, truth = SparseScores.join(parts), np.concatenate(label_ids)
    if not spec.fixed:
        rule = replace(rule, temperature=fit_sparse_temperature(combined, truth))
    of_examples = np.concatenate(signals)
    familiarity = Familiarity.fit(knn_distance, of_examples)
    predictions = SparsePredictions.from_scores(
        np.concatenate(of_rows), truth, combined.log_softmax(rule.temperature), familiarity.of_signals(of_examples)
    )
    return SparseFit(rule, familiarity, predictions)


def _with_temperatures(spec: RuleSpec, chosen: ChosenMetric, examples: LeftOutExamples) -> FittedRule:
    """Return the rule whose experts each have the temperature of least log-loss on some of the examples."""
    temperatures = tuple(expert.temperature for expert in spec.experts)
    if not spec.fixed:
        parts = [
            ([SparseScores.of(scores, block.label_ids) for scores in block.scores], block.label_ids)
            for block in examples.blocks(evenly(examples.rows, _PILOT))
        ]
        truth = np.concatenate([label_ids for _, label_ids in parts])
        temperatures = tuple(
            fit_sparse_temperature(SparseScores.join([scores[number] for scores, _ in parts]), truth)
            for number in range(len(spec.experts))
        )
    return FittedRule(chosen.metric, temperatures, 1.0, chosen.losses, None, spec)


def _with_text(rule: FittedRule, examples: LeftOutExamples, texts: Float32Array) -> FittedRule:
    """Return the rule with the text, where it helps on as many examples as have dense scores."""
    pilot = HeldOutScores.join(list(examples.blocks(evenly(examples.rows, densely(_PILOT, len(texts))))))
    experts = list(zip(pilot.scores, rule.temperatures))
    text = fit_text_weight(texts, examples.embeddings[pilot.rows], pilot.label_ids, experts)
    return replace(rule, text=text)


def evenly(rows: IntArray, most: int) -> IntArray:
    """Return all rows, or `most` of them at equal distances."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
