"""Figures of a measured reranker: accuracy against calls, next to random gating and the best possible one."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmm_classifier.core.arrays import BoolArray, Float64Array, IntArray
from lmm_classifier.rerank.benefit import RerankerBenefit, TrialOutcomes

_CALLS = (0, 50, 100, 200, 300, 400, 600, 1000)  # per 1000 images


def cost_accuracy_curve(outcomes: TrialOutcomes) -> dict[str, Float64Array]:
    """Return accuracy against calls for four ways to choose the images to ask about.

    Every array is (n + 1,) for n trials, 0 to 1. Accuracies and calls are those of all images after asking about the
    first m trials, m = 0 to n; each image asked about is decided by fusion.

    Returns:
        `gate` asks where the most gain is expected, and `random` anywhere, both at `calls`. `threshold` asks where
        retrieval is least confident, at `threshold_calls`. `oracle` knows which answers are corrections, at
        `oracle_calls`.
    """
    weight = outcomes.weight / outcomes.weight.sum()
    base = float((weight * outcomes.retrieval).sum())
    step = weight * (outcomes.fused.astype(float) - outcomes.retrieval)

    def cumulate(order: IntArray) -> tuple[Float64Array, Float64Array]:
        calls = np.concatenate([[0.0], np.cumsum(weight[order])])
        return calls, base + np.concatenate([[0.0], np.cumsum(step[order])])

    calls, gate = cumulate(np.argsort(-outcomes.gain, kind="stable"))
    threshold_calls, threshold = cumulate(np.argsort(outcomes.confidence, kind="stable"))
    oracle_calls, oracle = cumulate(np.argsort(-step / weight, kind="stable"))
    return {
        "calls": calls,
        "gate": gate,
        "random": base + (gate[-1] - base) * calls,
        "threshold_calls": threshold_calls,
        "threshold": threshold,
        "oracle_calls": oracle_calls,
        "oracle": np.maximum.accumulate(oracle),  # it stops before asking would only lower the accuracy
    }


def figures(benefit: RerankerBenefit) -> dict[str, Any]:
    """Return the measured figures by name; fractions are 0 to 1, of all images from the source of the dataset."""
    outcomes = benefit.outcomes
    weight = outcomes.weight / outcomes.weight.sum()
    asked = weight * outcomes.worth

    def mean(flags: BoolArray) -> float:
        return float((weight * flags).sum())

    calls = float(asked.sum())
    corrected = float((asked * (outcomes.fused & ~outcomes.retrieval)).sum())
    newly_wrong = float((asked * (~outcomes.fused & outcomes.retrieval)).sum())
    net, error = outcomes.net
    return {
        "pays": outcomes.pays,
        "measured_on": len(weight),
        "failed": int(outcomes.failed.sum()),
        "candidates": benefit.candidates,
        "fusion": {"retrieval": benefit.fusion.retrieval, "reranker": benefit.fusion.reranker},
        "gain_threshold": benefit.gain_threshold if np.isfinite(benefit.gain_threshold) else None,
        "calls_per_1000": 1000 * calls,
        "corrected_per_100_calls": 100 * corrected / calls if calls else 0.0,
        "newly_wrong_per_100_calls": 100 * newly_wrong / calls if calls else 0.0,
        "net_per_100_calls": 100 * net / calls if calls else 0.0,
        "net_gain": net,
        "net_gain_error": error,
        "accuracy": {
            "retrieval": mean(outcomes.retrieval),
            "gate": mean(outcomes.retrieval) + net,
            "fused_everywhere": mean(outcomes.fused),
            "reranker_everywhere": mean(outcomes.reranker),
        },
        "mean_disagreement": float((weight * outcomes.disagreement).sum()),
    }


def summary(benefit: RerankerBenefit) -> list[str]:
    """Return the figures as lines for people; the first line says whether reranking helps."""
    values = figures(benefit)
    accuracy = {name: f"{100 * value:.1f}%" for name, value in values["accuracy"].items()}
    gain = f"net gain {100 * values['net_gain']:+.1f} ± {100 * values['net_gain_error']:.1f} points"
    trials = f"  measured on: {values['measured_on']} held-out examples, {values['failed']} without an answer"
    everywhere = (
        f"accuracy: retrieval {accuracy['retrieval']}, with the reranker asked about every image "
        f"{accuracy['fused_everywhere']}, by its answers alone {accuracy['reranker_everywhere']}"
    )
    if not values["pays"]:
        return [f"Reranking does not help on this dataset ({gain}), so it is disabled.", trials, f"  {everywhere}"]
    fusion = values["fusion"]
    return [
        f"Reranking helps on this dataset ({gain}).",
        trials,
        f"  {everywhere}, by the gate {accuracy['gate']}",
        f"  calls per 1000 images: {values['calls_per_1000']:.0f}, with {values['candidates']} candidates each",
        f"  per 100 calls: {values['corrected_per_100_calls']:.1f} corrected, "
        f"{values['newly_wrong_per_100_calls']:.1f} newly wrong",
        f"  weights: {fusion['retrieval']:.2f} retrieval, {fusion['reranker']:.2f} reranker",
    ]


def curve_rows(outcomes: TrialOutcomes, calls: tuple[int, ...] = _CALLS) -> list[list[str]]:
    """Return a table of accuracy in percent by calls per 1000 images: gate, threshold, random gating, oracle."""
    curve = cost_accuracy_curve(outcomes)

    def accuracy_at(count: int, calls_name: str, name: str) -> str:
        return f"{100 * float(np.interp(count / 1000, curve[calls_name], curve[name])):.1f}"

    return [
        [
            str(count),
            accuracy_at(count, "calls", "gate"),
            accuracy_at(count, "threshold_calls", "threshold"),
            accuracy_at(count, "calls", "random"),
            accuracy_at(count, "oracle_calls", "oracle"),
        ]
        for count in calls
    ]


def pair_rows(benefit: RerankerBenefit, most: int = 30) -> list[list[str]]:
    """Return the pairs of labels that the reranker tells apart least, at most `most`.

    Each row has the true label, the false label, and how often the reranker prefers the true one, in percent.
    """
    pairs = sorted(benefit.pairwise_accuracy.of_pair.items(), key=lambda item: (item[1], item[0]))
    return [[true, false, f"{100 * rate:.0f}"] for (true, false), rate in pairs[:most]]
