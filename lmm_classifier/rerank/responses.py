"""Strict readers for the answer in a reply: log-probabilities, a constrained choice, or plain text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence

import numpy as np

from lmm_classifier.core.arrays import Float64Array

_BARE_ANSWER = 0.9  # probability assumed for an answer that comes without one
_WRAPPING = " \t\r\n\"'`*()[]."
_SENTENCE = re.compile(
    r"[*#\s]*(?:the )?(?:correct |final )?(?:answer|option|choice)(?: is)?\s*:?\s*[\"'`*(\[\s]*([a-z]+)[\"'`*)\].]*",
    re.IGNORECASE,
)
_BOX = re.compile(r"\$?\\boxed\{(?:\\text\{)?([^{}]*)\}{1,2}\$?\.?|<answer>(.*)</answer>", re.DOTALL)
_LISTED = re.compile(r"[(\[*]*([A-Z])[)\].:*]+\s+(.+)", re.DOTALL)


def read_log_probabilities(listed: Sequence[tuple[str, float]] | None, answers: Sequence[str]) -> Float64Array | None:
    """Return the log-probabilities of the answers as the first token, -inf for those that the server did not list.

    The probabilities of different spellings of an answer (with a leading space, or another case of `yes`) are added.

    Args:
        listed: tokens with their log-probabilities; None where the reply has none, which gives None.
        answers: the possible answers.
    """
    if listed is None:
        return None
    sums = np.zeros(len(answers))
    for token, log in listed:
        for position, answer in enumerate(answers):
            if token.strip() == answer or (len(answer) > 1 and token.strip().casefold() == answer):
                sums[position] += math.exp(min(log, 0.0))
    with np.errstate(divide="ignore"):
        return np.log(np.minimum(sums, 1.0))


def as_log_probabilities(position: int, count: int) -> Float64Array:
    """Return the log-probabilities of `count` answers, given that the one at `position` came without a probability."""
    rest = (1 - _BARE_ANSWER) / max(1, count - 1)
    return np.log(np.where(np.arange(count) == position, _BARE_ANSWER if count > 1 else 1.0, rest))


def read_json_choice(text: str, answers: Sequence[str]) -> int | None:
    """Return the position of the answer in a reply such as {"answer": "B"}; None where it is not one of `answers`."""
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        return None
    answer = reply.get("answer") if isinstance(reply, dict) else None
    return answers.index(answer) if isinstance(answer, str) and answer in answers else None


def read_text_choice(text: str, answers: Sequence[str], names: Sequence[str]) -> int | None:
    """Return the position of the answer in a plain text; None unless it gives exactly one and nothing else.

    Accepted are the answer alone (`B`, `(b).`), `The answer is B`, the option as it was listed (`B. dots`), and its
    name alone where no other option has that name; each of them also in a TeX box or between `<answer>` tags.

    Args:
        text: the reply.
        answers: the possible answers.
        names: names of the options, in the order of the answers.
    """
    if len(text) > 400:
        return None
    if box := _BOX.fullmatch(text.strip()):
        text = box.group(1) or box.group(2) or ""
    bare = text.strip(_WRAPPING)
    folded = [answer.casefold() for answer in answers]
    if bare.casefold() in folded:
        return folded.index(bare.casefold())
    if (sentence := _SENTENCE.fullmatch(text.strip())) and sentence.group(1).casefold() in folded:
        return folded.index(sentence.group(1).casefold())
    by_name = [position for position, name in enumerate(names) if name.strip(_WRAPPING).casefold() == bare.casefold()]
    if len(by_name) == 1 and bare:
        return by_name[0]
    listed = _LISTED.fullmatch(text.strip())
    if listed and listed.group(1) in answers:
        position = answers.index(listed.group(1))
        rest = listed.group(2).strip(_WRAPPING).casefold()
        return position if position < len(names) and names[position].strip(_WRAPPING).casefold() == rest else None
    return None
