"""The check of a loaded model: drawn questions show whether it can be asked, and whether sharing a prefix is exact."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from string import ascii_uppercase
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.core.errors import RerankerError
from lmm_classifier.core.numerics import log_softmax
from lmm_classifier.core.text import first_line
from lmm_classifier.rerank.drawn_questions import drawn_questions
from lmm_classifier.rerank.image_budget import VisualTokenBudget
from lmm_classifier.rerank.prompts import PromptOptions, PromptVariant
from lmm_classifier.rerank.shared_prefix import SharedPrefixScorer
from lmm_classifier.rerank.whole_forward import WholeForwardScorer

logger: logging.Logger = logging.getLogger(__name__)

Scorer = Callable[[Sequence[Sequence[PromptVariant]]], list[list[Float64Array]]]
Logs = list[list[Float64Array]]

# Rounding of tiny models gave 6e-6 nats in float32. In bfloat16 it gave 0.19 nats for an unlikely option but at most
# 0.006 of probability; a model that cannot share its prefix gave 0.2 nats and 0.03 of probability or more.
_MOST_NATS = 1e-3
_MOST_PROBABILITY = 2e-2


def checked_scorer(
    whole: WholeForwardScorer,
    shared: SharedPrefixScorer | None,
    prompt_options: PromptOptions,
    budget: VisualTokenBudget,
    min_option_mass: float,
) -> Scorer:
    """Return the way in which a loaded model is asked: with a shared prefix where that gives the same as without.

    Args:
        whole: scores each prompt by the model's own forward pass.
        shared: scores prompts with a shared prefix; None where this is not proven for the type of the model.
        prompt_options: how questions are asked.
        budget: limits on visual tokens.
        min_option_mass: a warning says so if the drawn questions get less.

    Raises:
        RerankerError: an answer is no single token, or the model returns numbers that are no probabilities.
    """
    for answer in ("yes", "no") if prompt_options.mode == "pairwise" else ascii_uppercase:
        whole.answers.of(answer)
    prompts = _questions(prompt_options, budget)
    logs = whole(prompts)
    if not all(np.isfinite(row).all() and (row < 1e-3).all() for rows in logs for row in rows):
        raise RerankerError(
            "The model answers a drawn question with numbers that are not probabilities. "
            "Set rerank.model.dtype: float32."
        )
    mass = float(np.mean([np.exp(row).sum() for rows in logs for row in rows]))
    if mass < min_option_mass:
        logger.warning(
            "The model gave the options of a drawn question a probability of only %.2f, less than "
            "rerank.prompt.min_option_mass. Its answers to images may count as failed. Use a model that was trained to "
            "follow instructions, or change rerank.prompt_template.",
            mass,
        )
    if shared is None:
        return whole
    try:
        answered = shared(prompts, least_shared=1)
    except Exception as error:  # noqa: BLE001 - of any library; the model itself was asked without one
        logger.warning(
            "With a shared prefix this model fails on a drawn question: %s. So each prompt is computed as a whole, "
            "which is slower.",
            first_line(error).rstrip("."),
        )
        return whole
    difference, most = _difference(answered, logs, exact=whole.is_float32)
    if difference <= most:
        return shared
    logger.warning(
        "With a shared prefix this model answers a drawn question differently (by %.3g, at most %.3g is rounding). So "
        "each prompt is computed as a whole, which is slower.",
        difference,
        most,
    )
    return whole


def _questions(prompt_options: PromptOptions, budget: VisualTokenBudget) -> list[list[PromptVariant]]:
    """Return two questions in two orders; their images differ in size, so that their prefixes are padded."""
    first, second = (prompts for _, prompts in drawn_questions(prompt_options, budget))
    flat = [replace(prompt, parts=tuple(map(_cut, prompt.parts))) for prompt in second]
    return [first, [budget.fit(prompt) for prompt in flat]]


def _cut(part: Any) -> Any:
    """Return the middle of an image, two thirds as high; a text as it is."""
    return part if isinstance(part, str) else part.crop((0, part.height // 6, part.width, part.height * 5 // 6))


def _difference(shared: Logs, whole: Logs, exact: bool) -> tuple[float, float]:
    """Return how far two ways differ, and the most that rounding explains."""
    pairs = [(one, other) for ones, others in zip(shared, whole) for one, other in zip(ones, others)]
    if exact:
        differences = [np.abs(one - other).max() for one, other in pairs]
    else:
        differences = [np.abs(np.exp(log_softmax(one)) - np.exp(log_softmax(other))).max() for one, other in pairs]
    largest = float(np.max(differences))
    return (largest if np.isfinite(largest) else float("inf")), _MOST_NATS if exact else _MOST_PROBABILITY
