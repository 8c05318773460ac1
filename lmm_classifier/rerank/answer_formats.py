"""How a question is sent to a server and how its answer is read, for each format of answers that servers support."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from PIL import Image

from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.core.datatypes import RerankRequest
from lmm_classifier.rerank.chat_reply import ChatReply, ReplyError
from lmm_classifier.rerank.dialect import Dialect
from lmm_classifier.rerank.prompts import NONE, NONE_OF_THESE, PromptVariant, escape_label
from lmm_classifier.rerank.responses import (
    as_log_probabilities,
    read_json_choice,
    read_log_probabilities,
    read_text_choice,
)

Image.preinit()  # now, not in a thread that saves the first image: a fork meanwhile would have half of it

# what is read: log-probabilities, a constrained choice, constrained JSON, a single token, or a sentence
AnswerFormat = Literal["logprobs", "choice", "json", "token", "text"]

_TOKENS: dict[AnswerFormat, int] = {"logprobs": 1, "choice": 8, "json": 24, "token": 1, "text": 16}
_MAX_TOP_LOGPROBS = 20  # that OpenAI and vLLM allow
_MAX_PNG_BYTES = 200_000  # a larger image is sent as JPEG


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a server was found to support."""

    format: AnswerFormat
    """The best format of its answers."""
    letter_tokens: tuple[int, ...] = ()
    """Token ids of the letters A to Z, where the server can list exactly those; else empty."""
    dialect: Dialect = field(default_factory=Dialect)
    """How it wants to be asked."""
    model: str = ""
    """What it says of its model; empty where it says nothing."""

    def payload(self, prompt: PromptVariant) -> dict[str, Any]:
        """Return the request for a prompt."""
        content: dict[str, Any] = messages(prompt)
        answers = list(prompt.answers)
        if self.format == "logprobs":
            content |= {"logprobs": True, "top_logprobs": _MAX_TOP_LOGPROBS}
            if self.letter_tokens and answers[0] == "A":
                content["logprob_token_ids"] = list(self.letter_tokens[: len(answers)])
        elif self.format == "choice":
            content["structured_outputs"] = {"choice": answers}
        elif self.format == "json":
            content["response_format"] = _schema(answers)
        return self.dialect.payload(content, _TOKENS[self.format])

    def read(self, reply: ChatReply, prompt: PromptVariant, request: RerankRequest) -> Float64Array:
        """Return the log-probabilities of the answers to a prompt; raises ReplyError where the reply has no answer."""
        answers = prompt.answers
        if self.format == "logprobs":
            logs = read_log_probabilities(reply.first_token, answers)
            if logs is None:
                raise ReplyError("no_probabilities")
            return logs
        if self.format == "json":
            position = read_json_choice(reply.answer, answers)
        else:
            position = read_text_choice(reply.answer, answers, _names(prompt, request))
        if position is None:
            raise ReplyError("not_an_option", reply.answer)
        return as_log_probabilities(position, len(answers))


def messages(prompt: PromptVariant) -> dict[str, Any]:
    """Return the messages of a request, with the images of the prompt as `data:` URLs."""
    return {"messages": [{"role": "user", "content": [_content(part) for part in prompt.parts]}]}


def plain_tokens() -> int:
    """Return the number of tokens that a short sentence needs."""
    return _TOKENS["text"]


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
