"""Find out what a server supports by test requests: log-probabilities, constrained answers, text, and images.

Servers silently ignore what they do not support, so only what comes back in a reply counts as supported.
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
from PIL import Image, ImageDraw

from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.core.datatypes import Candidate, RerankRequest
from lmm_classifier.rerank.aggregation import aggregate
from lmm_classifier.rerank.chat_client import CallError
from lmm_classifier.rerank.image_budget import VisualTokenBudget
from lmm_classifier.rerank.prompts import NONE, NONE_OF_THESE, PromptOptions, PromptVariant, escape_label, make_prompts
from lmm_classifier.rerank.responses import (
    as_log_probabilities,
    prompt_tokens_of,
    read_json_choice,
    read_log_probabilities,
    read_text_choice,
    text_of,
)

logger = logging.getLogger(__name__)

# what is read: log-probabilities, a constrained choice, constrained JSON, a single token, or a sentence
AnswerFormat = Literal["logprobs", "choice", "json", "token", "text"]
Chat = Callable[[dict[str, Any]], Awaitable[Any]]

_MAX_TOP_LOGPROBS = 20  # that OpenAI and vLLM allow
_MAX_PNG_BYTES = 200_000  # a larger image is sent as JPEG
_NONSENSE = ("qx", "zj")  # no model generates these unasked: they prove that the answer was constrained


class BlindServerError(Exception):
    """The server answers, but does not pass images to its model."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a server was found to support."""

    format: AnswerFormat
    """The best format of its answers."""
    letter_tokens: tuple[int, ...] = ()
    """Token ids of the letters A to Z, where the server can list exactly those; else empty."""

    def payload(self, prompt: PromptVariant) -> dict[str, Any]:
        """Return the request for a prompt."""
        message = {"role": "user", "content": [_content(part) for part in prompt.parts]}
        payload: dict[str, Any] = {"messages": [message]}
        answers = list(prompt.answers)
        match self.format:
            case "logprobs":
                payload |= {"max_tokens": 1, "logprobs": True, "top_logprobs": _MAX_TOP_LOGPROBS}
                if self.letter_tokens and answers[0] == "A":
                    payload["logprob_token_ids"] = list(self.letter_tokens[: len(answers)])
                return payload
            case "choice":
                return payload | {"max_tokens": 8, "structured_outputs": {"choice": answers}}
            case "json":
                return payload | {"max_tokens": 24, "response_format": _schema(answers)}
            case "token":
                return payload | {"max_tokens": 1}
            case "text":
                return payload | {"max_tokens": 16}

    def read(self, reply: Any, prompt: PromptVariant, request: RerankRequest) -> Float64Array:
        """Return the log-probabilities of the answers to a prompt; raises ValueError where the reply has no answer."""
        answers = prompt.answers
        if self.format == "logprobs":
            logs = read_log_probabilities(reply, answers)
            if logs is None:
                raise ValueError("the reply has no log-probabilities, although they were requested")
            return logs
        text = text_of(reply)
        if self.format == "json":
            position = read_json_choice(text, answers)
        else:
            position = read_text_choice(text, answers, _names(prompt, request))
        if position is None:
            raise ValueError(f"the answer is not one of the options: {' '.join(text[:80].split())!r}")
        return as_log_probabilities(position, len(answers))


async def probe(
    chat: Chat, tokenize: Chat, prompt_options: PromptOptions, budget: VisualTokenBudget, min_option_mass: float
) -> Abilities:
    """Find the best answer format that works, and check that the model sees images.

    Args:
        chat: sends the payload of a chat completion and returns the reply.
        tokenize: sends the payload of a tokenize request and returns the reply.
        prompt_options: how questions are asked.
        budget: limits on visual tokens.
        min_option_mass: least probability of all options together, 0 to 1.

    Raises:
        BlindServerError: if the model does not see images.
        CallError: if the server does not answer.
        ValueError: if a reply is not a chat completion.
    """
    abilities = await _best_format(chat, prompt_options, budget)
    if abilities.format == "logprobs":
        abilities = replace(abilities, letter_tokens=await _letter_tokens(chat, tokenize, prompt_options, budget))
    await _require_sight(chat, abilities, prompt_options, budget, min_option_mass)
    logger.info("Answer format of the server: %s", abilities.format)
    return abilities


async def _best_format(chat: Chat, prompt_options: PromptOptions, budget: VisualTokenBudget) -> Abilities:
    prompt = _test_questions(prompt_options, budget)[0][1][0]
    if (reply := await _unless_refused(chat(Abilities("logprobs").payload(prompt)))) is not None:
        logs = read_log_probabilities(reply, prompt.answers)
        if logs is not None and np.isfinite(logs).any():
            return Abilities("logprobs")
    nonsense = PromptVariant(("Say hello.",), _NONSENSE, (0, 1))
    for answer_format in ("choice", "json"):
        reply = await _unless_refused(chat(Abilities(answer_format).payload(nonsense)))
        if reply is None:
            continue
        try:
            text = text_of(reply)
        except ValueError:
            continue
        in_json = read_json_choice(text, _NONSENSE) is not None
        if in_json if answer_format == "json" else text.strip() in _NONSENSE:
            return Abilities(answer_format)
    reply = await chat(Abilities("token").payload(prompt))
    return Abilities("text" if read_text_choice(text_of(reply), prompt.answers, ()) is None else "token")


async def _letter_tokens(
    chat: Chat, tokenize: Chat, prompt_options: PromptOptions, budget: VisualTokenBudget
) -> tuple[int, ...]:
    """Return the token ids of the letters where the server can list exactly those (vLLM); else an empty tuple."""
    tokens = []
    for letter in ascii_uppercase:
        reply = await _unless_refused(tokenize({"prompt": letter, "add_special_tokens": False}))
        listed = reply.get("tokens") if isinstance(reply, dict) else None
        if not isinstance(listed, list) or len(listed) != 1 or not isinstance(listed[0], int):
            return ()
        tokens.append(listed[0])
    prompt = _test_questions(prompt_options, budget)[0][1][0]
    reply = await _unless_refused(chat(Abilities("logprobs", tuple(tokens)).payload(prompt)))
    logs = None if reply is None else read_log_probabilities(reply, prompt.answers)
    return tuple(tokens) if logs is not None and np.isfinite(logs).all() else ()


async def _require_sight(
    chat: Chat, abilities: Abilities, prompt_options: PromptOptions, budget: VisualTokenBudget, min_option_mass: float
) -> None:
    """Ask two questions with known answers; if one is wrong, check that images add to the number of prompt tokens."""
    correct, tokens = [], []
    for request, prompts in _test_questions(prompt_options, budget):
        replies = [await chat(abilities.payload(prompt)) for prompt in prompts]
        tokens.append(prompt_tokens_of(replies[0]))
        try:
            logs = [abilities.read(reply, prompt, request) for reply, prompt in zip(replies, prompts)]
        except ValueError:
            correct.append(False)
            continue
        answer = aggregate(prompts, logs, 2, min_option_mass, pairwise=False)
        correct.append(not answer.failure and answer.scores[0] > answer.scores[1])
    if all(correct):
        return
    text_only = replace(prompts[0], parts=tuple(part for part in prompts[0].parts if isinstance(part, str)))
    without_image = prompt_tokens_of(await chat(abilities.payload(text_only)))
    with_image = tokens[-1]
    if without_image is None or with_image is None:
        raise BlindServerError("it confused a circle and a triangle, and it does not report how many tokens it read")
    if with_image - without_image < budget.least / 4:
        raise BlindServerError(f"a question had {with_image} tokens with an image and {without_image} without it")
    logger.warning(
        "The server reads images (%d tokens with one, %d without), but its model confused a circle and a triangle. "
        "Measure whether reranking helps before you rely on it.",
        with_image,
        without_image,
    )


def _test_questions(
    prompt_options: PromptOptions, budget: VisualTokenBudget
) -> list[tuple[RerankRequest, list[PromptVariant]]]:
    """Return two questions whose first candidate is right, each with its prompts; a blind model fails at least one."""
    by_name = replace(prompt_options, mode="names", orders=2, none_option=False)
    questions = []
    for shape, rival in (("circle", "triangle"), ("triangle", "circle")):
        request = RerankRequest(_draw(shape), (Candidate(shape, 0.5, ()), Candidate(rival, 0.5, ())))
        questions.append((request, [budget.fit(prompt) for prompt in make_prompts(by_name, request)]))
    return questions


def _draw(shape: str) -> Image.Image:
    image = Image.new("RGB", (224, 224), (240, 225, 200))
    draw = ImageDraw.Draw(image)
    if shape == "circle":
        draw.ellipse((48, 48, 176, 176), fill=(40, 60, 160))
    else:
        draw.polygon([(112, 40), (32, 168), (192, 168)], fill=(40, 60, 160))
    return image


async def _unless_refused(call: Awaitable[Any]) -> Any:
    """Return the reply, or None where the server does not support this kind of request."""
    try:
        return await call
    except CallError as error:
        if error.status in {400, 404, 405, 415, 422, 500, 501}:
            return None
        raise


def _names(prompt: PromptVariant, request: RerankRequest) -> Sequence[str]:
    if prompt.answers[0] != "A":
        return ()
    labels = [
        NONE_OF_THESE if position == NONE else request.candidates[position].label for position in prompt.stands_for
    ]
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
    if buffer.tell() > _MAX_PNG_BYTES:
        buffer, kind = io.BytesIO(), "jpeg"
        part.save(buffer, "JPEG", quality=92, subsampling=0)
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"}}
