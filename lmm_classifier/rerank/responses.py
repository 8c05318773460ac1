"""Strict readers for the replies of a server: log-probabilities, a constrained choice, or plain text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float64Array

_BARE_ANSWER = 0.9  # probability assumed for an answer that comes without one
_WRAPPING = " \t\r\n\"'`*()[]."
_SENTENCE = re.compile(
    r"(?:the )?(?:correct )?(?:answer|option)(?: is)?\s*:?\s*[\"'`*(\[]*([a-z]+)[\"'`*)\].]*", re.IGNORECASE
)
_LISTED = re.compile(r"[(\[*]*([A-Z])[)\].:*]+\s+(.+)", re.DOTALL)


def choice_of(reply: Any) -> dict[str, Any]:
    """Return the first choice of a chat completion; raises ValueError where the reply is not a chat completion."""
    choices = reply.get("choices") if isinstance(reply, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ValueError("the reply has no choices, so it is not a chat completion")
    return choices[0]


def text_of(reply: Any) -> str:
    """Return the text of a chat completion; raises ValueError where it has none."""
    message = choice_of(reply).get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, str):
        raise ValueError("the reply has no text")
    return content


def prompt_tokens_of(reply: Any) -> int | None:
    """Return the number of prompt tokens that the server reports; None where it reports none."""
    usage = reply.get("usage") if isinstance(reply, dict) else None
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return tokens if isinstance(tokens, int) and not isinstance(tokens, bool) else None


def read_log_probabilities(reply: Any, answers: Sequence[str]) -> Float64Array | None:
    """Return the log-probabilities of the answers as the first token, -inf for those that the server did not list.

    The probabilities of different spellings of an answer (with a leading space, or another case of `yes`) are added.
    Returns None where the reply has no log-probabilities.
    """
    listed = _first_token(choice_of(reply))
    if listed is None:
        return None
    sums = np.zeros(len(answers))
    for token, log in listed:
        for position, answer in enumerate(answers):
            if token.strip() == answer or (len(answer) > 1 and token.strip().casefold() == answer):
                sums[position] += math.exp(min(log, 0.0))
    with np.errstate(divide="ignore"):
        return np.log(np.minimum(sums, 1.0))


def _first_token(choice: dict[str, Any]) -> list[tuple[str, float]] | None:
    """Return the tokens that are listed for the first position, with their log-probabilities."""
    content = (choice.get("logprobs") or {}).get("content") if isinstance(choice.get("logprobs"), dict) else None
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return None
    listed: dict[str, float] = {}
    for entry in [content[0], *(content[0].get("top_logprobs") or [])]:
        token, log = (entry.get("token"), entry.get("logprob")) if isinstance(entry, dict) else (None, None)
        if isinstance(token, str) and isinstance(log, int | float) and not math.isnan(log):
            listed[token] = float(log)
    return list(listed.items()) or None


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
    name alone where no other option has that name.

    Args:
        text: the reply.
        answers: the possible answers.
        names: names of the options, in the order of the answers.
    """
    if len(text) > 400:
        return None
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
