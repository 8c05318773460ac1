"""Aggregation: log-probabilities of several orders or references become one answer and a disagreement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.core.datatypes import RerankResult
from lmm_classifier.core.numerics import log_softmax
from lmm_classifier.rerank.prompts import NONE, PromptVariant

_FLOOR = -30.0  # log-probability of an answer that the model did not list


def aggregate(
    prompts: Sequence[PromptVariant],
    log_probabilities: Sequence[Float64Array],
    candidates: int,
    min_option_mass: float,
    pairwise: bool,
) -> RerankResult:
    """Combine the answers to the prompts of one request.

    The log-probabilities are averaged over the orders, then normalized. This geometric mean cancels a preference for a
    letter or a place. The disagreement is the mean total variation distance of single orders to the result, 0 to 1.

    Args:
        prompts: the prompts of the request.
        log_probabilities: for each prompt, the log-probabilities of its answers as the next token.
        candidates: number of candidates.
        min_option_mass: least probability of all options together, 0 to 1; below it the request counts as failed.
        pairwise: whether each prompt compares the image with one reference.
    """
    if any((np.isnan(row) | (row > 1e-3)).any() for row in log_probabilities):  # -inf is an answer that was not listed
        return failed(
            "the model returned numbers that are not probabilities; in process, set rerank.model.dtype: float32"
        )
    rows = [np.maximum(row, _FLOOR) for row in log_probabilities]
    mass = float(np.mean([min(1.0, np.exp(row).sum()) for row in log_probabilities]))
    if mass < min_option_mass or mass == 0:
        return failed(f"the options have a probability of only {mass:.2f}: the model did not answer the question", mass)
    if pairwise:
        return _aggregate_pairs(prompts, rows, candidates, mass)
    options = candidates + any(NONE in prompt.stands_for for prompt in prompts)
    logs = np.empty((len(prompts), options))  # the last column is "none of these", where it was offered
    for order, prompt, row in zip(logs, prompts, rows):
        order[list(prompt.stands_for)] = log_softmax(row)
    total = np.exp(log_softmax(logs.mean(axis=0)))  # (options,)
    disagreement = float(np.abs(np.exp(logs) - total).sum(axis=1).mean() / 2)
    none = float(total[candidates]) if options > candidates else None
    return RerankResult(_normalized(total[:candidates]), mass, "", disagreement, none)


def failed(reason: str, mass: float = 0.0) -> RerankResult:
    """Return a result without an answer, with the reason."""
    return RerankResult((), mass, reason)


def _aggregate_pairs(
    prompts: Sequence[PromptVariant], rows: Sequence[Float64Array], candidates: int, mass: float
) -> RerankResult:
    """Average the log-odds of `yes` over the references of each candidate, and return their softmax.

    Exactly one label is right. For independent answers with odds o_c, the probability that c alone is a yes is o_c
    times a constant.
    """
    log_odds: list[list[float]] = [[] for _ in range(candidates)]
    for prompt, row in zip(prompts, rows):
        log_odds[prompt.stands_for[0]].append(float(row[0] - row[1]))
    means = np.array([np.mean(values) for values in log_odds])
    yes = [1 / (1 + np.exp(-np.array(values))) for values in log_odds]  # probabilities of yes, per candidate
    spread = float(np.mean([np.abs(values - values.mean()).mean() for values in yes]))
    none = float(np.prod([1 - values.mean() for values in yes]))
    return RerankResult(_normalized(np.exp(log_softmax(means))), mass, "", 2 * spread, none)


def _normalized(weights: Float64Array) -> tuple[float, ...]:
    return tuple(map(float, weights / weights.sum()))
