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


@dataclass(frozen=True, slots=True)
class RescueChance:
    """How often asking really rescued, by what was expected: logit p = intercept + slope logit(gain).

    Confidence from few examples is too careful at its upper end; where that is, the last calls bring less than
    expected, and fewer of them are worth it (Platt, Advances in Large Margin Classifiers, 1999).
    """

    intercept: float = 0.0
    slope: float = 1.0

    def __call__(self, gains: Doubles) -> Doubles:
        """The chance of a rescue at each expected gain (n,); 0 stays 0."""
        logits = self.intercept + self.slope * _logit(gains)
        return np.where(gains > 0, 1 / (1 + np.exp(-logits)), 0.0)

    @classmethod
    def fit(cls, gains: Doubles, rescued: NDArray[np.bool_]) -> RescueChance:
        """Fit to what came of asking, by Newton's method; Gaussian priors around intercept 0 and slope 1."""
        kept = gains > 0
        inputs = np.stack([np.ones(int(kept.sum())), _logit(gains[kept])], axis=1)  # (n, 2)
        centre, strength = np.array([0.0, 1.0]), np.array([1.0, 4.0])
        weights = centre.copy()
        for _ in range(50):
            p = 1 / (1 + np.exp(-(inputs @ weights)))
            slope = inputs.T @ (p - rescued[kept]) + strength * (weights - centre)
            bend = (inputs * (p * (1 - p))[:, None]).T @ inputs + np.diag(strength)
            step = np.linalg.solve(bend, slope)
            weights = weights - step * min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
            if np.abs(step).max() < 1e-8:
                break
        return cls(float(weights[0]), max(0.1, float(weights[1])))  # more expected is never less likely


def least_gain(
    gains: Doubles, share: float, most_calls: float | None = None, chance: RescueChance = RescueChance()
) -> float:
    """The expected gain from which a call is worth it: the dearest calls that together bring `share` of all rescues.

    `gains` (n,) are those of the corpus's examples, `most_calls` the largest part of pictures to ask about, 0..1.
    """
    falling = np.sort(gains)[::-1]
    rescues = chance(falling)
    total = rescues.sum()
    if total <= 0:
        return float("inf")
    count = int(np.searchsorted(np.cumsum(rescues), (1 - 1e-9) * share * total)) + 1
    if most_calls is not None:
        count = min(count, int(most_calls * len(gains)))
    if count == 0:
        return float("inf")
    return float(max(falling[min(count, len(falling)) - 1], np.finfo(float).tiny))


def _logit(shares: Doubles) -> Doubles:
    inside = np.clip(shares, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def _shrunk(wins: Sequence[float], towards: float, strength: float) -> float:
    return (sum(wins) + strength * towards) / (len(wins) + strength)
