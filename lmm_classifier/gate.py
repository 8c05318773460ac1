"""The gate: how much a second look at one picture may be expected to gain, and whether that is worth a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

_LABEL_STRENGTH = 8.0  # comparisons that the overall rate counts for against a label's own
_PAIR_STRENGTH = 4.0  # comparisons that the label's rate counts for against the pair's own


@dataclass(frozen=True)
class Reliability:
    """How often the reranker prefers the true label t to a false one f, measured where it was asked.

    Few comparisons are shrunk: a pair towards its true label, a label towards all. A pair about which the reranker
    tosses a coin, or of which it always says the same, thereby promises no gain, and is not asked about.
    """

    overall: float
    of_label: Mapping[str, float]
    of_pair: Mapping[tuple[str, str], float]  # (true, false)

    def rate(self, true: str, false: str) -> float:
        """The chance, 0..1, that the reranker prefers `true` to `false` when `true` is right."""
        return self.of_pair.get((true, false), self.of_label.get(true, self.overall))

    @classmethod
    def fit(cls, comparisons: Sequence[tuple[str, str, float]]) -> Reliability:
        """Fit on (true label, false label, 1 preferred the true one, 0 the false one, .5 neither)."""
        won = [win for _, _, win in comparisons]
        overall = (sum(won) + 1) / (len(won) + 2)
        labels: dict[str, list[float]] = {}
        pairs: dict[tuple[str, str], list[float]] = {}
        for true, false, win in comparisons:
            labels.setdefault(true, []).append(win)
            pairs.setdefault((true, false), []).append(win)
        of_label = {one: _shrunk(wins, overall, _LABEL_STRENGTH) for one, wins in labels.items()}
        of_pair = {pair: _shrunk(wins, of_label[pair[0]], _PAIR_STRENGTH) for pair, wins in pairs.items()}
        return cls(overall, of_label, of_pair)

    def expected_gain(self, labels: Sequence[str], shares: Doubles) -> float:
        """The chance that asking rescues this picture less the chance that it breaks it, 0 or more.

        `labels` are the candidates, best first, `shares` (k,) their calibrated probabilities. A rival c gains
        p_c rate(c, best) - p_best (1 - rate(best, c)): its rescues less its breaks. Where that is negative, fusion
        stays with retrieval, so it counts as 0 (the value of information about a binary choice).
        """
        best, top = labels[0], float(shares[0])
        gains = (
            share * self.rate(rival, best) - top * (1 - self.rate(best, rival))
            for rival, share in zip(labels[1:], shares[1:])
        )
        return float(sum(max(0.0, gain) for gain in gains))

    def state(self) -> dict[str, NDArray[Any]]:
        """The arrays that rebuild it."""
        pairs = sorted(self.of_pair)
        return {
            "overall": np.array([self.overall]),
            "labels": np.array(sorted(self.of_label), dtype=str),
            "label_rates": np.array([self.of_label[name] for name in sorted(self.of_label)]),
            "pairs": np.array(pairs, dtype=str).reshape(-1, 2),
            "pair_rates": np.array([self.of_pair[pair] for pair in pairs]),
        }

    @classmethod
    def restore(cls, state: Mapping[str, NDArray[Any]]) -> Reliability:
        """Rebuild; raises KeyError or ValueError where something is missing or no probability."""
        rates = np.concatenate([state["overall"], state["label_rates"], state["pair_rates"]])
        if not ((rates >= 0) & (rates <= 1)).all():
            raise ValueError("a rate of the reranker is no probability")
        of_label = dict(zip(map(str, state["labels"]), map(float, state["label_rates"]), strict=True))
        pairs = [(str(true), str(false)) for true, false in state["pairs"]]
        return cls(float(state["overall"][0]), of_label, dict(zip(pairs, map(float, state["pair_rates"]), strict=True)))


def least_gain(gains: Doubles, share: float, most_calls: float | None = None) -> float:
    """The expected gain from which a call is worth it: the dearest calls that together bring `share` of all gain.

    `gains` (n,) are those of the corpus's examples, `most_calls` the largest part of pictures to ask about, 0..1.
    """
    falling = np.sort(gains)[::-1]
    total = falling.sum()
    if total <= 0:
        return float("inf")
    count = int(np.searchsorted(np.cumsum(falling), share * total)) + 1
    if most_calls is not None:
        count = min(count, int(most_calls * len(gains)))
    if count == 0:
        return float("inf")
    return float(max(falling[min(count, len(falling)) - 1], np.finfo(float).tiny))


def _shrunk(wins: Sequence[float], towards: float, strength: float) -> float:
    return (sum(wins) + strength * towards) / (len(wins) + strength)
