"""What was measured of a second look, in figures: accuracy against calls, next to random gating and the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.rerank.benefit import Outcomes, SecondLook

Doubles = NDArray[np.float64]


def frontier(outcomes: Outcomes) -> dict[str, Doubles]:
    """Accuracy, 0..1, after asking about the first m of all pictures, for m = 0..n, in four orders; and the calls.

    `calls` (n + 1,) is per picture, 0..1, for the two gates that follow it: `gate` asks where most gain is expected,
    `random` anywhere. `threshold` asks where retrieval is least sure (at `threshold_calls`); `oracle` knows whom to
    rescue (at `oracle_calls`). Each asked picture is decided by fusion.
    """
    weight = outcomes.weight / outcomes.weight.sum()
    base = float((weight * outcomes.retrieval).sum())
    step = weight * (outcomes.fused.astype(float) - outcomes.retrieval)

    def walk(order: NDArray[Any]) -> tuple[Doubles, Doubles]:
        calls = np.concatenate([[0.0], np.cumsum(weight[order])])
        return calls, base + np.concatenate([[0.0], np.cumsum(step[order])])

    calls, gate = walk(np.argsort(-outcomes.gain, kind="stable"))
    threshold_calls, threshold = walk(np.argsort(outcomes.confidence, kind="stable"))
    oracle_calls, oracle = walk(np.argsort(-step / weight, kind="stable"))
    return {
        "calls": calls,
        "gate": gate,
        "random": base + (gate[-1] - base) * calls,
        "threshold_calls": threshold_calls,
        "threshold": threshold,
        "oracle_calls": oracle_calls,
        "oracle": np.maximum.accumulate(oracle),  # it stops where asking would only break
    }


def figures(found: SecondLook) -> dict[str, Any]:
    """The measured figures by name; shares are 0..1, of all pictures like the corpus's."""
    outcomes = found.outcomes
    weight = outcomes.weight / outcomes.weight.sum()
    worth = weight * outcomes.worth

    def mean(flags: NDArray[np.bool_]) -> float:
        return float((weight * flags).sum())

    asked = float(worth.sum())
    rescued = float((worth * (outcomes.fused & ~outcomes.retrieval)).sum())
    broken = float((worth * (~outcomes.fused & outcomes.retrieval)).sum())
    net, error = outcomes.net
    return {
        "pays": outcomes.pays,
        "measured_on": len(weight),
        "failed": int(outcomes.failed.sum()),
        "candidates": found.candidates,
        "fusion": {"retrieval": found.fusion.retrieval, "reranker": found.fusion.reranker},
        "least_gain": found.least_gain if np.isfinite(found.least_gain) else None,
        "calls_per_1000": 1000 * asked,
        "rescued_per_100_calls": 100 * rescued / asked if asked else 0.0,
        "broken_per_100_calls": 100 * broken / asked if asked else 0.0,
        "net_per_100_calls": 100 * net / asked if asked else 0.0,
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


def summary(found: SecondLook) -> list[str]:
    """The same in a few lines for people."""
    said = figures(found)
    accuracy = {name: f"{100 * value:.1f} %" for name, value in said["accuracy"].items()}
    net, error = 100 * said["net_gain"], 100 * said["net_gain_error"]
    head = f"second look, measured on {said['measured_on']} left-out examples ({said['failed']} without an answer): "
    everywhere = (
        f"  accuracy: retrieval {accuracy['retrieval']}, asked everywhere and fused {accuracy['fused_everywhere']}, "
        f"its own choice everywhere {accuracy['reranker_everywhere']}"
    )
    if not said["pays"]:
        return [f"{head}do not bother, its net gain is {net:+.2f} % +- {error:.2f}; it is switched off", everywhere]
    return [
        f"{head}it pays, net gain {net:+.2f} % +- {error:.2f}, with {said['calls_per_1000']:.0f} calls per 1000",
        everywhere + f", by this gate {accuracy['gate']}",
        f"  per 100 calls {said['rescued_per_100_calls']:.1f} rescued less {said['broken_per_100_calls']:.1f} broken; "
        f"{said['candidates']} candidates; weights {said['fusion']['retrieval']:.2f} retrieval, "
        f"{said['fusion']['reranker']:.2f} second look",
    ]


def frontier_rows(outcomes: Outcomes, at: tuple[int, ...] = (0, 50, 100, 200, 300, 400, 600, 1000)) -> list[list[str]]:
    """Accuracy in percent at some numbers of calls per 1000: the gate, a threshold, random gating, the oracle."""
    lines = frontier(outcomes)

    def read(calls: str, name: str, wanted: float) -> str:
        return f"{100 * float(np.interp(wanted, lines[calls], lines[name])):.1f}"

    return [
        [
            str(calls),
            read("calls", "gate", calls / 1000),
            read("threshold_calls", "threshold", calls / 1000),
            read("calls", "random", calls / 1000),
            read("oracle_calls", "oracle", calls / 1000),
        ]
        for calls in at
    ]


def pair_rows(found: SecondLook, most: int = 30) -> list[list[str]]:
    """True label, false label, and how often the reranker prefers the true one, in percent: the worst pairs first."""
    pairs = sorted(found.reliability.of_pair.items(), key=lambda item: (item[1], item[0]))
    return [[true, false, f"{100 * rate:.0f}"] for (true, false), rate in pairs[:most]]
