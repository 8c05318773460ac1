"""The reply of a server, parsed by a schema into `ChatReply` or a `ReplyError` with one of a closed set of reasons.

A reply is foreign JSON: nothing in it is trusted in type, size or range.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from lmm_classifier.core.redaction import quote_foreign

ReplyFault = Literal[
    "not_json", "server_error", "not_a_completion", "malformed", "empty", "out_of_tokens", "refused", "not_an_option",
    "no_probabilities",
]  # fmt: skip
_SENTENCES: dict[ReplyFault, str] = {
    "not_json": "the reply is not JSON",
    "server_error": "the reply is an error with status 200",
    "not_a_completion": "the reply has no choices, so it is not a chat completion",
    "malformed": "the reply is malformed",
    "empty": "the reply has no text",
    "out_of_tokens": "the reply ended before its answer, because its tokens were used up: raise "
    "rerank.server.token_budget, or set rerank.server.thinking: 'off'",
    "refused": "the model refused to answer",
    "not_an_option": "the answer is not one of the options",
    "no_probabilities": "the reply has no log-probabilities, although they were requested",
}
_TAG = re.compile(r"(?i)[<\[◁](/?)(?:\w{1,20}:)?(?:think|thinking|thought|reasoning|reflection|analysis)[>\]▷]")
_OPENING = re.compile(
    r"(?i)<\|(?:start|begin_of)_(?:thinking|thought)\|>|<\|channel\|>(?:analysis|commentary)<\|message\|>"
)
_CLOSING = re.compile(r"(?i)<\|end_(?:of_)?(?:thinking|thought)\|>|<\|channel\|>final<\|message\|>")
_CONTROL_TOKEN = re.compile(r"<\|\w{1,40}\|>|<｜[^｜<>]{1,40}｜>|</s>|<(?:eos|end_of_turn)>")
_SHORT = 400  # characters of an answer


class ReplyError(ValueError):
    """A reply without a usable answer.

    Args:
        fault: the reason.
        foreign: text of the server that shows it. It is not part of `str(error)`; `describe` quotes it.
        status: of an error with status 200, the status that it names; None where it names none.
    """

    def __init__(self, fault: ReplyFault, foreign: str = "", status: int | None = None) -> None:
        super().__init__(_SENTENCES[fault])
        self.status: int | None = status
        self.fault, self._foreign = fault, foreign

    def describe(self, secrets: Collection[str] = ()) -> str:
        """Return the reason, with the server's text in quotes and without the secrets."""
        quoted = quote_foreign(self._foreign, secrets, limit=120)
        return f"{self}: {quoted!r}" if quoted else str(self)


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What counts of a chat completion."""

    text: str
    """The answer, without what the model thought before it; empty where there is none."""
    reasoned: bool
    """Whether the model wrote down thoughts before its answer, or spent tokens on them."""
    finish: Literal["stop", "length", "refused"]
    """Why the reply ended."""
    first_token: tuple[tuple[str, float], ...] | None
    """The tokens that are listed for the first position, with their log-probabilities, at most 0; None without."""
    prompt_tokens: int | None
    """Number of tokens that the server read; None where it reports none."""
    model: str | None
    """The server's name of the model that answered; None where it reports none."""

    @property
    def answer(self) -> str:
        """The text; raises ReplyError where there is none."""
        if self.text:
            return self.text
        if self.finish != "stop":
            raise ReplyError("out_of_tokens" if self.finish == "length" else "refused")
        raise ReplyError("empty")


def parse_reply(body: bytes) -> ChatReply:
    """Parse the body of an answer with status 200.

    Raises:
        ReplyError: if it is not a chat completion.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        reply = _Completion.model_validate_json(body)
    except ValidationError as error:
        raise _named(error, body) from None
    except (ValueError, RecursionError, OverflowError) as error:
        raise ReplyError("not_json", type(error).__name__) from None
    choice = reply.choices[0]
    text, thoughts, closed = split_thoughts(_joined(choice.message.content))
    thoughts += _thoughts_of(choice.message)
    cut = choice.finish_reason in {"length", "max_tokens"} or not closed
    if not text and not cut and len(thoughts) <= _SHORT:
        text = thoughts.strip()  # some servers put a constrained answer there
    hidden = reply.usage.completion_tokens_details.reasoning_tokens or 0
    refused = bool(choice.message.refusal) or choice.finish_reason == "content_filter"
    return ChatReply(
        text=text,
        reasoned=bool(thoughts.strip()) or hidden > 0 or not closed,
        finish="length" if cut else "refused" if refused else "stop",
        first_token=_first_token(choice.logprobs),
        prompt_tokens=reply.usage.prompt_tokens,
        model=reply.model,
    )


def split_thoughts(text: str) -> tuple[str, str, bool]:
    """Split a text at tags such as `<think>` and `</think>`, or at control tokens that stand for them.

    Returns:
        The answer, the thoughts, and whether the last thought was closed. A closing tag without an opening one ends a
        thought that began with the text.
    """
    text = _CLOSING.sub("</think>", _OPENING.sub("<think>", text))
    answer, thoughts, start, inside = list[str](), list[str](), 0, False
    for tag in _TAG.finditer(text):
        piece, start = text[start : tag.start()], tag.end()
        if inside:
            thoughts.append(piece)
        elif tag.group(1):
            thoughts += [*answer, piece]
            answer.clear()
        else:
            answer.append(piece)
        inside = not tag.group(1)
    (thoughts if inside else answer).append(text[start:])
    return _CONTROL_TOKEN.sub("", "".join(answer)).strip(), "".join(thoughts), not inside


def models_of(body: bytes) -> dict[str, str]:
    """Return the models that a server lists: for each name the last part of the path of its weights, else its name."""
    try:
        listing = _Models.model_validate_json(body)
    except (ValueError, RecursionError, OverflowError):
        return {}
    return {model.id: (model.root or model.id).rstrip("/").rpartition("/")[2] for model in listing.data}


def tokens_of(body: bytes) -> list[int]:
    """Return the tokens of a text, as vLLM lists them; an empty list where the answer has none."""
    try:
        return _Tokens.model_validate_json(body).tokens
    except (ValueError, RecursionError, OverflowError):
        return []


def _named(error: ValidationError, body: bytes) -> ReplyError:
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if fault["type"] == "json_invalid":
        return ReplyError("not_json", body[:4000].decode(errors="replace"))
    if (server_error := _error_of(body)) is not None:
        return server_error
    path = ".".join(map(str, fault["loc"]))
    if path in {"", "choices", "choices.0", "choices.0.message"}:
        return ReplyError("not_a_completion")
    return ReplyError("malformed", f"{path}: {fault['msg']}")


def _error_of(body: bytes) -> ReplyError | None:
    """Return the error of a reply such as {"error": {"code": 429, "message": ...}}; None where it is no error."""
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        return None
    error = reply.get("error") if isinstance(reply, dict) else None
    message, code = (error.get("message"), error.get("code")) if isinstance(error, dict) else (error, None)
    if not isinstance(message, str) or not message:
        return None
    return ReplyError("server_error", message[:4000], code if type(code) is int else None)


def _log_probability(value: float) -> float:
    if math.isnan(value) or value > 1e-3:  # rounding may lift a certain token above 0
        raise ValueError("expected a logarithm of a probability")
    return min(value, 0.0)


def _only(kind: type) -> BeforeValidator:
    """A field that is not needed: a value of another type counts as missing."""
    return BeforeValidator(lambda value: value if type(value) is kind else None)


_Text = Annotated[str | None, _only(str)]
_Count = Annotated[int | None, _only(int)]
_OrEmpty = BeforeValidator(lambda value: value if isinstance(value, dict) else {})


class _Schema(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class _Token(_Schema):
    token: str
    logprob: Annotated[float, AfterValidator(_log_probability)]


class _Position(_Token):
    top_logprobs: list[_Token] | None = None


class _Logprobs(_Schema):
    content: list[_Position] | None = None


class _Chunk(_Schema):
    type: str = "text"
    text: _Text = None
    thinking: Any = None


class _Message(_Schema):
    content: str | list[_Chunk | str] | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    thinking: Any = None
    refusal: _Text = None


class _Choice(_Schema):
    message: _Message
    logprobs: _Logprobs | None = None
    finish_reason: _Text = None


class _Details(_Schema):
    reasoning_tokens: _Count = None


class _Usage(_Schema):
    prompt_tokens: _Count = None
    completion_tokens_details: Annotated[_Details, _OrEmpty] = _Details()


class _Completion(_Schema):
    choices: Annotated[list[_Choice], Field(min_length=1, max_length=128)]
    usage: Annotated[_Usage, _OrEmpty] = _Usage()
    model: _Text = None


class _Model(_Schema):
    id: str
    root: _Text = None


class _Models(_Schema):
    data: Annotated[list[_Model], Field(max_length=100_000)]


class _Tokens(_Schema):
    tokens: list[int]


def _joined(content: str | list[_Chunk | str] | None) -> str:
    if isinstance(content, list):
        return "".join(part if isinstance(part, str) else part.text or "" for part in content if not _is_thought(part))
    return content or ""


def _is_thought(part: _Chunk | str) -> bool:
    return not isinstance(part, str) and part.type in {"thinking", "reasoning", "thought", "redacted_thinking"}


def _thoughts_of(message: _Message) -> str:
    fields = [message.reasoning_content, message.reasoning, message.thinking]
    if isinstance(message.content, list):
        fields += [
            part.thinking or part.text for part in message.content if isinstance(part, _Chunk) and _is_thought(part)
        ]
    texts = [field if isinstance(field, str) else json.dumps(field, default=str) for field in fields if field]
    return "".join(dict.fromkeys(texts))  # some servers repeat one under two names


def _first_token(logprobs: _Logprobs | None) -> tuple[tuple[str, float], ...] | None:
    if logprobs is None or not logprobs.content:
        return None
    first = logprobs.content[0]
    listed = {entry.token: entry.logprob for entry in (first, *(first.top_logprobs or ()))}
    return tuple(listed.items())
