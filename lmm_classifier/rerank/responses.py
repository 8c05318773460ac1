"""What a server said, read strictly: log-probabilities, a constrained choice, or plain text; never a guess."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SURE = 0.9  # what a bare answer counts for: it carries no probability of its own
_WRAPPING = " \t\r\n\"'`*()[]."
_SAYS = re.compile(
    r"(?:the )?(?:correct )?(?:answer|option)(?: is)?\s*:?\s*[\"'`*(\[]*([a-z]+)[\"'`*)\].]*", re.IGNORECASE
)
_LISTED = re.compile(r"[(\[*]*([A-Z])[)\].:*]+\s+(.+)", re.DOTALL)


def choice_of(reply: Any) -> dict[str, Any]:
    """Return the one choice of a chat completion; raises ValueError where the reply is none."""
    choices = reply.get("choices") if isinstance(reply, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ValueError("the reply holds no choices: it is no chat completion")
    return choices[0]


def text_of(reply: Any) -> str:
    """Return the text of a chat completion; raises ValueError where there is none."""
    message = choice_of(reply).get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, str):
        raise ValueError("the reply holds no text")
    return content


def prompt_tokens_of(reply: Any) -> int | None:
    """Return how many tokens the server says it read; None where it does not say."""
    usage = reply.get("usage") if isinstance(reply, dict) else None
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return tokens if isinstance(tokens, int) and not isinstance(tokens, bool) else None


def read_log_probabilities(reply: Any, answers: Sequence[str]) -> NDArray[np.float64] | None:
    """Return the log-probabilities of the answers as the first token; -inf where not listed, None if none came.

    Spellings of one answer (a blank before it, another case of `yes`) add up.
    """
    listed = _first_token(choice_of(reply))
    if listed is None:
        return None
    sums = np.zeros(len(answers))
    for token, log in listed:
        for place, answer in enumerate(answers):
            if token.strip() == answer or (len(answer) > 1 and token.strip().casefold() == answer):
                sums[place] += math.exp(min(log, 0.0))
    with np.errstate(divide="ignore"):
        return np.log(np.minimum(sums, 1.0))


def _first_token(choice: dict[str, Any]) -> list[tuple[str, float]] | None:
    """The tokens that were listed for the first place, with their log-probabilities."""
    content = (choice.get("logprobs") or {}).get("content") if isinstance(choice.get("logprobs"), dict) else None
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return None
    listed: dict[str, float] = {}
    for entry in [content[0], *(content[0].get("top_logprobs") or [])]:
        token, log = (entry.get("token"), entry.get("logprob")) if isinstance(entry, dict) else (None, None)
        if isinstance(token, str) and isinstance(log, int | float) and not math.isnan(log):
            listed[token] = float(log)
    return list(listed.items()) or None


def as_log_probabilities(place: int, count: int) -> NDArray[np.float64]:
    """Return a bare answer as log-probabilities of `count` answers."""
    rest = (1 - _SURE) / max(1, count - 1)
    return np.log(np.where(np.arange(count) == place, _SURE if count > 1 else 1.0, rest))


def read_json_choice(text: str, answers: Sequence[str]) -> int | None:
    """Return the place of the answer in a reply such as {"answer": "B"}; None where it is not one of them."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    answer = said.get("answer") if isinstance(said, dict) else None
    return answers.index(answer) if isinstance(answer, str) and answer in answers else None


def read_text_choice(text: str, answers: Sequence[str], names: Sequence[str]) -> int | None:
    """Return the place of the answer that a plain text gives; None unless it gives exactly one and nothing else.

    Understood are the answer alone (`B`, `(b).`), `The answer is B`, the option as it was listed (`B. dots`), and its
    name alone where no other option has it. `names` are those of the options, in the order of the answers.
    """
    if len(text) > 400:
        return None
    bare = text.strip(_WRAPPING)
    folded = [answer.casefold() for answer in answers]
    if bare.casefold() in folded:
        return folded.index(bare.casefold())
    if (said := _SAYS.fullmatch(text.strip())) and said.group(1).casefold() in folded:
        return folded.index(said.group(1).casefold())
    named = [place for place, name in enumerate(names) if name.strip(_WRAPPING).casefold() == bare.casefold()]
    if len(named) == 1 and bare:
        return named[0]
    listed = _LISTED.fullmatch(text.strip())
    if listed and listed.group(1) in answers:
        place = answers.index(listed.group(1))
        rest = listed.group(2).strip(_WRAPPING).casefold()
        return place if place < len(names) and names[place].strip(_WRAPPING).casefold() == rest else None
    return None
