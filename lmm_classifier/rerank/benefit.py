"""What a second look is worth on this corpus: measured by leave-one-out, then fitted, then used or switched off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.datatypes import Reranked
from lmm_classifier.rerank.fusion import Fusion, evidence, fit_fusion
from lmm_classifier.rerank.gating import Reliability, RescueChance, least_gain

Doubles = NDArray[np.float64]
IntArray = NDArray[np.int64]

_FOLDS = 5
_LEAST_DOUBT = 0.02  # of an example that retrieval is sure of: it still stands a chance to be asked about


@dataclass(frozen=True, slots=True)
class Asked:
    """One left-out example that was asked about: its candidates, retrieval's shares, the truth, and the answer.

    `weight` is the number of examples that it stands for; `truth` the true label, among the candidates or not.
    """

    labels: tuple[str, ...]
    shares: Doubles  # (k,) descending
    truth: str
    answer: Reranked
    weight: float


@dataclass(frozen=True)
class Outcomes:
    """What came of each question, (n,): decided by weights and rates that were fitted without it."""

    gain: Doubles  # expected before asking
    confidence: Doubles  # retrieval's best share
    weight: Doubles
    worth: NDArray[np.bool_]  # the gate would have asked
    retrieval: NDArray[np.bool_]  # right by retrieval alone
    reranker: NDArray[np.bool_]  # right by the reranker alone (by retrieval where it failed)
    fused: NDArray[np.bool_]  # right by both
    failed: NDArray[np.bool_]
    disagreement: Doubles

    @property
    def net(self) -> tuple[float, float]:
        """Net gain in accuracy over all pictures when the gate asks, 0..1, and its standard error."""
        each = self.weight * self.worth * (self.fused.astype(float) - self.retrieval)
        return float(each.sum() / self.weight.sum()), float(np.sqrt(np.square(each).sum()) / self.weight.sum())

    @property
    def net_percent(self) -> tuple[float, float]:
        """The same in percent."""
        net, error = self.net
        return 100 * net, 100 * error

    @property
    def pays(self) -> bool:
        """Whether the net gain, measured by folds, is above zero by more than its standard error.

        A single rescue among many pictures is its own standard error: luck, and no reason to ask about all.
        """
        net, error = self.net
        return net > error + 1e-12


@dataclass(frozen=True)
class SecondLook:
    """A reranker as measured on a corpus. Belongs to one reranker and one calibrated retrieval."""

    identity: str
    fusion: Fusion
    reliability: Reliability
    least_gain: float
    candidates: int
    outcomes: Outcomes

    def worth(self, labels: Sequence[str], shares: Doubles) -> bool:
        """Whether to ask about a picture with these candidates, best first; never where it does not pay at all."""
        return self.outcomes.pays and self.reliability.expected_gain(labels, shares) >= self.least_gain

    def state(self) -> dict[str, NDArray[Any]]:
        """The arrays that rebuild it; no pickled objects."""
        outcomes = {f"outcomes.{name}": getattr(self.outcomes, name) for name in Outcomes.__dataclass_fields__}
        reliability = {f"reliability.{name}": array for name, array in self.reliability.state().items()}
        return {
            "identity": np.array([self.identity]),
            "fusion": np.array([self.fusion.retrieval, self.fusion.reranker]),
            "gate": np.array([self.least_gain, float(self.candidates)]),
            **reliability,
            **outcomes,
        }

    @classmethod
    def restore(cls, state: Mapping[str, NDArray[Any]]) -> SecondLook:
        """Rebuild; raises KeyError, IndexError or ValueError where the arrays are none of a second look."""

        def below(prefix: str) -> dict[str, NDArray[Any]]:
            return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}

        outcomes = Outcomes(**below("outcomes."))
        if len({len(getattr(outcomes, name)) for name in Outcomes.__dataclass_fields__}) != 1:
            raise ValueError("the outcomes of the second look differ in number")
        retrieval, reranker = map(float, state["fusion"])
        least, candidates = map(float, state["gate"])
        if not (retrieval >= 0 and reranker >= 0 and least > 0 and 1 <= candidates <= 26):
            raise ValueError("the second look holds impossible numbers")
        reliability = Reliability.restore(below("reliability."))
        return cls(
            str(state["identity"][0]), Fusion(retrieval, reranker), reliability, least, int(candidates), outcomes
        )


def candidates_needed(shares: Doubles, truth: IntArray, recall: float, most: int) -> int:
    """The number of candidates, 2..`most`, that hold the true label with the chance `recall` where there is doubt.

    `shares` (n, C) are those of left-out examples, which count by their doubt, 1 - the best share.
    """
    own = shares[np.arange(len(truth)), truth]
    place = (shares > own[:, None]).sum(axis=1)  # (n,) labels before the true one
    doubt = np.maximum(1 - shares.max(axis=1), 1e-12)
    held = np.bincount(place, doubt, shares.shape[1]).cumsum() / doubt.sum()
    needed = int(np.searchsorted(held, recall - 1e-12)) + 1
    return max(2, min(needed, most))


def choose_whom_to_ask(best: Doubles, chance: Doubles, budget: int) -> tuple[IntArray, Doubles]:
    """Choose at most `budget` examples by their doubt: rows ascending, and how many examples each stands for.

    `best` (n,) are the best shares, `chance` (n,) numbers of 0..1 that stay with an example, so that a second run asks
    about the same ones and a larger budget about more (sequential Poisson sampling: Ohlsson, J. Official Statistics
    14, 1998). The weights are the reciprocal inclusion probabilities.
    """
    count = len(best)
    if count <= budget:
        return np.arange(count), np.ones(count)
    doubt = np.maximum(1 - best, _LEAST_DOUBT)
    include = doubt * (budget / doubt.sum())
    for _ in range(20):  # what is certain to be asked leaves its surplus to the others
        certain = include >= 1
        rest = max(budget - certain.sum(), 0)
        include = np.where(certain, 1.0, doubt * (rest / max(doubt[~certain].sum(), 1e-12)))
    include = np.clip(include, 1e-9, 1)
    rows = np.sort(np.argsort(np.where(include >= 1, -1.0, chance / include), kind="stable")[:budget])
    return rows, 1 / include[rows]


def fit_second_look(
    identity: str,
    asked: Sequence[Asked],
    every_gain: Sequence[tuple[tuple[str, ...], Doubles]],
    gain_share: float,
    most_calls: float | None,
) -> SecondLook:
    """Fit fusion, reliability and gate on what was asked; judge them by folds, each decided by the others' fit.

    `asked` holds one at least. `every_gain` are the candidates and shares of all left-out examples, asked or not:
    where the gate is set.
    """
    fold = np.arange(len(asked)) % _FOLDS
    fits = [_fit([one for one, mine in zip(asked, fold) if mine != number]) for number in range(_FOLDS)]
    verdicts = [_verdict(one, *fits[mine]) for one, mine in zip(asked, fold)]
    gain, retrieval, reranker, fused = (np.array(column) for column in zip(*verdicts))
    rescued = fused & ~retrieval
    worth = np.zeros(len(asked), bool)
    for number, (_, reliability) in enumerate(fits):
        mine = fold == number
        chance = RescueChance.fit(gain[~mine], rescued[~mine])
        worth[mine] = gain[mine] >= _least_gain(reliability, every_gain, gain_share, most_calls, chance)
    outcomes = Outcomes(
        gain=gain,
        confidence=np.array([one.shares[0] for one in asked]),
        weight=np.array([one.weight for one in asked]),
        worth=worth,
        retrieval=retrieval,
        reranker=reranker,
        fused=fused,
        failed=np.array([bool(one.answer.failure) for one in asked]),
        disagreement=np.array([one.answer.disagreement for one in asked]),
    )
    fusion, reliability = _fit(asked)
    least = _least_gain(reliability, every_gain, gain_share, most_calls, RescueChance.fit(gain, rescued))
    return SecondLook(identity, fusion, reliability, least, max(len(one.labels) for one in asked), outcomes)


def _fit(asked: Sequence[Asked]) -> tuple[Fusion, Reliability]:
    answered = [one for one in asked if not one.answer.failure and one.truth in one.labels]
    told = [evidence(one.shares, one.answer) for one in answered]
    fusion = fit_fusion(told, [one.labels.index(one.truth) for one in answered])
    comparisons = []
    for one in answered:
        true = one.answer.scores[one.labels.index(one.truth)]
        for label, score in zip(one.labels, one.answer.scores):
            if label != one.truth:
                comparisons.append((one.truth, label, 0.5 + 0.5 * float(np.sign(true - score))))
    return fusion, Reliability.fit(comparisons)


def _least_gain(
    reliability: Reliability,
    every: Sequence[tuple[tuple[str, ...], Doubles]],
    gain_share: float,
    most_calls: float | None,
    chance: RescueChance,
) -> float:
    gains = np.array([reliability.expected_gain(labels, shares) for labels, shares in every])
    return least_gain(gains, gain_share, most_calls, chance)


def _verdict(one: Asked, fusion: Fusion, reliability: Reliability) -> tuple[float, bool, bool, bool]:
    """The gain expected of asking, and whether retrieval, the reranker and both are right."""
    gain = reliability.expected_gain(one.labels, one.shares)
    by_retrieval = one.labels[0] == one.truth
    if one.answer.failure:
        return gain, by_retrieval, by_retrieval, by_retrieval
    by_reranker = one.labels[int(np.argmax(one.answer.scores))] == one.truth
    by_fusion = one.labels[int(np.argmax(fusion(one.shares, one.answer)))] == one.truth
    return gain, by_retrieval, by_reranker, by_fusion
