"""Finds out what a server can do by asking it: log-probabilities, constrained answers, text; and whether it sees.

Servers differ in what they ignore in silence, so nothing is believed that did not come back.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lmm_classifier.core.datatypes import Candidate, Question
from lmm_classifier.rerank.aggregation import tally
from lmm_classifier.rerank.chat_client import CallError
from lmm_classifier.rerank.image_budget import PictureBudget
from lmm_classifier.rerank.prompts import NONE, NONE_OF_THESE, Asking, Ballot, escape_label, write_ballots
from lmm_classifier.rerank.responses import (
    as_log_probabilities,
    prompt_tokens_of,
    read_json_choice,
    read_log_probabilities,
    read_text_choice,
    text_of,
)

logger = logging.getLogger(__name__)

# what is read: the listed log-probabilities, a constrained choice or JSON, the one token of the answer, or a sentence
Way = Literal["logprobs", "choice", "json", "token", "text"]
Chat = Callable[[dict[str, Any]], Awaitable[Any]]

_MOST_LISTED = 20  # top_logprobs that OpenAI and vLLM allow
_LARGE_PNG = 200_000  # bytes from which JPEG is sent instead
_NONSENSE = ("qx", "zj")  # what no model says by itself: proves that the answer was constrained


class BlindServerError(Exception):
    """The server answers, but does not show pictures to the model."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a server was seen to do: the way its answers come, and the tokens of the letters where it tells them."""

    way: Way
    letter_tokens: tuple[int, ...] = ()

    def payload(self, ballot: Ballot) -> dict[str, Any]:
        """Return what to send for a ballot."""
        message = {"role": "user", "content": [_content(part) for part in ballot.parts]}
        sent: dict[str, Any] = {"messages": [message]}
        answers = list(ballot.answers)
        match self.way:
            case "logprobs":
                asked: dict[str, Any] = {"max_tokens": 1, "logprobs": True, "top_logprobs": _MOST_LISTED}
                if self.letter_tokens and answers[0] == "A":
                    asked["logprob_token_ids"] = list(self.letter_tokens[: len(answers)])
                return sent | asked
            case "choice":
                return sent | {"max_tokens": 8, "structured_outputs": {"choice": answers}}
            case "json":
                return sent | {"max_tokens": 24, "response_format": _schema(answers)}
            case "token":
                return sent | {"max_tokens": 1}
            case "text":
                return sent | {"max_tokens": 16}

    def read(self, reply: Any, ballot: Ballot, question: Question) -> NDArray[np.float64]:
        """Return the log-probabilities of a ballot's answers; raises ValueError where the reply holds no answer."""
        answers = ballot.answers
        if self.way == "logprobs":
            found = read_log_probabilities(reply, answers)
            if found is None:
                raise ValueError("the server left out the log-probabilities that it was asked for")
            return found
        text = text_of(reply)
        place = read_json_choice(text, answers) if self.way == "json" else None
        if place is None and self.way != "json":
            place = read_text_choice(text, answers, _names(ballot, question))
        if place is None:
            raise ValueError(f"the answer is none of the options: {' '.join(text[:80].split())!r}")
        return as_log_probabilities(place, len(answers))


async def probe(chat: Chat, tokenize: Chat, asking: Asking, budget: PictureBudget, least_mass: float) -> Abilities:
    """Find the best way to ask that really works, and see that pictures are seen.

    Raises BlindServerError where they are not, CallError where the server does not answer, ValueError where it answers
    nonsense.
    """
    abilities = await _best_way(chat, asking, budget)
    if abilities.way == "logprobs":
        abilities = replace(abilities, letter_tokens=await _letter_tokens(chat, tokenize, asking, budget))
    await _require_sight(chat, abilities, asking, budget, least_mass)
    logger.info("the server answers by %s", abilities.way)
    return abilities


async def _best_way(chat: Chat, asking: Asking, budget: PictureBudget) -> Abilities:
    ballot = _canaries(asking, budget)[0][1]
    if (reply := await _or_refused(chat(Abilities("logprobs").payload(ballot)))) is not None:
        found = read_log_probabilities(reply, ballot.answers)
        if found is not None and np.isfinite(found).any():
            return Abilities("logprobs")
    nonsense = Ballot(("Say hello.",), _NONSENSE, (0, 1))
    for way in ("choice", "json"):
        reply = await _or_refused(chat(Abilities(way).payload(nonsense)))
        if reply is None:
            continue
        try:
            said = text_of(reply)
        except ValueError:
            continue
        if (read_json_choice(said, _NONSENSE) if way == "json" else _place(said.strip())) is not None:
            return Abilities(way)
    reply = await chat(Abilities("token").payload(ballot))
    return Abilities("text" if read_text_choice(text_of(reply), ballot.answers, ()) is None else "token")


async def _letter_tokens(chat: Chat, tokenize: Chat, asking: Asking, budget: PictureBudget) -> tuple[int, ...]:
    """The tokens of the letters, where the server tells them and then lists exactly those (vLLM); else none."""
    tokens = []
    for letter in ascii_uppercase:
        reply = await _or_refused(tokenize({"prompt": letter, "add_special_tokens": False}))
        listed = reply.get("tokens") if isinstance(reply, dict) else None
        if not isinstance(listed, list) or len(listed) != 1 or not isinstance(listed[0], int):
            return ()
        tokens.append(listed[0])
    ballot = _canaries(asking, budget)[0][1]
    reply = await _or_refused(chat(Abilities("logprobs", tuple(tokens)).payload(ballot)))
    found = None if reply is None else read_log_probabilities(reply, ballot.answers)
    return tuple(tokens) if found is not None and np.isfinite(found).all() else ()


async def _require_sight(
    chat: Chat, abilities: Abilities, asking: Asking, budget: PictureBudget, least_mass: float
) -> None:
    """Ask two questions with known answers; if they go wrong, see whether the pictures were counted at all."""
    right, counted = [], []
    for question, *ballots in _canaries(asking, budget):
        cast = [ballot for ballot in ballots if isinstance(ballot, Ballot)]
        replies = [await chat(abilities.payload(ballot)) for ballot in cast]
        counted += [prompt_tokens_of(reply) for reply in replies]
        try:
            logs = [abilities.read(reply, ballot, question) for reply, ballot in zip(replies, cast)]
        except ValueError:
            right.append(False)
            continue
        answer = tally(cast, logs, 2, least_mass, pairwise=False)
        right.append(not answer.failure and answer.scores[0] > answer.scores[1])
    if all(right):
        return
    with_picture = cast[0]
    without = replace(with_picture, parts=tuple(part for part in with_picture.parts if isinstance(part, str)))
    plain = prompt_tokens_of(await chat(abilities.payload(without)))
    seen = counted[-len(cast)]
    if plain is None or seen is None:
        raise BlindServerError(
            "a circle and a triangle were taken for one another, and it does not say how many tokens it read"
        )
    if seen - plain < budget.least / 4:
        raise BlindServerError(f"a question had {seen} tokens with a picture and {plain} without")
    logger.warning(
        "the server counts pictures (%d tokens with, %d without) but took a circle and a triangle for one another: "
        "`calibrate --rerank` tells whether asking it pays",
        seen,
        plain,
    )


def _canaries(asking: Asking, budget: PictureBudget) -> list[tuple[Any, ...]]:
    """Two questions whose first candidate is right, each with its ballots; no blind model answers both."""
    by_name = replace(asking, mode="names", orders=2, none_option=False)
    asked = []
    for shape, other in (("circle", "triangle"), ("triangle", "circle")):
        question = Question(_drawn(shape), (Candidate(shape, 0.5, ()), Candidate(other, 0.5, ())))
        asked.append((question, *(budget.fit(ballot) for ballot in write_ballots(by_name, question))))
    return asked


def _drawn(shape: str) -> Image.Image:
    image = Image.new("RGB", (224, 224), (240, 225, 200))
    draw = ImageDraw.Draw(image)
    if shape == "circle":
        draw.ellipse((48, 48, 176, 176), fill=(40, 60, 160))
    else:
        draw.polygon([(112, 40), (32, 168), (192, 168)], fill=(40, 60, 160))
    return image


async def _or_refused(call: Awaitable[Any]) -> Any:
    """The reply, or None where the server refuses this kind of request (and not us, or every request)."""
    try:
        return await call
    except CallError as error:
        if error.status in {400, 404, 405, 415, 422, 500, 501}:
            return None
        raise


def _place(said: str) -> int | None:
    return _NONSENSE.index(said) if said in _NONSENSE else None


def _names(ballot: Ballot, question: Question) -> Sequence[str]:
    if ballot.answers[0] != "A":
        return ()
    labels = [question.candidates[place].label if place != NONE else NONE_OF_THESE for place in ballot.stands_for]
    return [escape_label(label) for label in labels]


def _schema(answers: Sequence[str]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string", "enum": list(answers)}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "choice", "strict": True, "schema": schema}}


def _content(part: str | Image.Image) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    buffer, kind = io.BytesIO(), "png"
    part.save(buffer, "PNG")
    if buffer.tell() > _LARGE_PNG:
        buffer, kind = io.BytesIO(), "jpeg"
        part.save(buffer, "JPEG", quality=92, subsampling=0)
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"}}
