"""Ballots counted: log-probabilities of several orders or references become one answer, and how far they disagree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.datatypes import Reranked
from lmm_classifier.rerank.prompts import NONE, Ballot

_FLOOR = -30.0  # log-probability of an answer that was not seen at all


def tally(
    ballots: Sequence[Ballot],
    log_probabilities: Sequence[NDArray[np.float64]],
    candidates: int,
    least_mass: float,
    pairwise: bool,
) -> Reranked:
    """Count one question's ballots; `log_probabilities` holds, for each, those of its answers as the next token.

    The logs are averaged over the orders (a geometric mean, which cancels a preference for a letter or a place), then
    normalised. `disagreement` is the mean total variation distance of single orders to the outcome, 0..1.
    """
    if any((np.isnan(row) | (row > 1e-3)).any() for row in log_probabilities):  # -inf is an answer that was not seen
        return failed("the model's probabilities are none; in process, try rerank.dtype: float32")
    rows = [np.maximum(row, _FLOOR) for row in log_probabilities]
    mass = float(np.mean([min(1.0, np.exp(row).sum()) for row in log_probabilities]))
    if mass < least_mass or mass == 0:
        return failed(f"the options got a probability of only {mass:.2f}: the question was not answered", mass)
    if pairwise:
        return _tally_pairs(ballots, rows, candidates, mass)
    options = candidates + any(NONE in ballot.stands_for for ballot in ballots)
    votes = np.empty((len(ballots), options))  # the last is for none of them, where that was offered
    for vote, ballot, row in zip(votes, ballots, rows):
        vote[list(ballot.stands_for)] = _normalised(row)
    total = np.exp(_normalised(votes.mean(axis=0)))  # (options,)
    disagreement = float(np.abs(np.exp(votes) - total).sum(axis=1).mean() / 2)
    none = float(total[candidates]) if options > candidates else None
    return Reranked(_shares(total[:candidates]), min(mass, 1.0), "", disagreement, none)


def failed(reason: str, mass: float = 0.0) -> Reranked:
    """Return an answer that is none, and why."""
    return Reranked((), mass, reason)


def _tally_pairs(
    ballots: Sequence[Ballot], rows: Sequence[NDArray[np.float64]], candidates: int, mass: float
) -> Reranked:
    """Average the log-odds of `yes` over a candidate's references; exactly one label is right, hence their softmax.

    For independent answers with odds o_c the chance that c alone is a yes is o_c times a constant.
    """
    odds: list[list[float]] = [[] for _ in range(candidates)]
    for ballot, row in zip(ballots, rows):
        odds[ballot.stands_for[0]].append(float(row[0] - row[1]))
    means = np.array([np.mean(one) for one in odds])
    yes = [1 / (1 + np.exp(-np.array(one))) for one in odds]  # probabilities of yes
    spread = float(np.mean([np.abs(one - one.mean()).mean() for one in yes]))
    nobody = float(np.prod([1 - one.mean() for one in yes]))
    return Reranked(_shares(np.exp(_normalised(means))), min(mass, 1.0), "", min(1.0, 2 * spread), nobody)


def _normalised(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    top = logs.max()
    return np.asarray(logs - top - np.log(np.exp(logs - top).sum()))


def _shares(weights: NDArray[np.float64]) -> tuple[float, ...]:
    total = weights.sum()
    even = np.full(len(weights), 1 / len(weights))
    return tuple(map(float, weights / total if total > 0 else even))
