"""The dialect of a server: the names of its parameters, and how a model that thinks before it answers is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

from lmm_classifier.rerank.chat_reply import ChatReply
from lmm_classifier.rerank.server_errors import CallError

TokenField = Literal["max_tokens", "max_completion_tokens"]
Chat = Callable[[dict[str, Any]], Awaitable[ChatReply]]

_UNSUPPORTED = {400, 404, 405, 415, 422, 500, 501}  # status codes of servers that do not know a parameter
_WRONG_PARAMETER = {400, 422}
# what switches thinking off: for the chat templates of vLLM, SGLang and llama.cpp, and for others
_SWITCHES: dict[str, dict[str, Any]] = {
    "": {},
    "chat_template_kwargs": {"chat_template_kwargs": {"enable_thinking": False}},
    "reasoning_effort": {"reasoning_effort": "none"},
}
_TOKEN_FIELDS: tuple[TokenField, ...] = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How requests must be written for one server."""

    token_field: TokenField = "max_tokens"
    """The parameter that limits the tokens of the reply."""
    temperature: bool = True
    """Whether `temperature: 0` is accepted."""
    switch: str = ""
    """The parameter that switches thinking off; empty for none."""
    thinks: bool = False
    """Whether the model thinks before it answers, so that a reply needs `token_budget`."""
    token_budget: int = 2048
    """Most tokens of a reply of a model that thinks."""

    def payload(self, content: dict[str, Any], tokens: int) -> dict[str, Any]:
        """Return a request: `content` with the limit of tokens and what asks for the likeliest answer."""
        payload = {**content, self.token_field: self.token_budget if self.thinks else tokens}
        if self.temperature:
            payload["temperature"] = 0
        return payload | _SWITCHES[self.switch]


async def learn_dialect(
    chat: Chat, content: dict[str, Any], tokens: int, thinking: Literal["auto", "on", "off"], token_budget: int
) -> tuple[Dialect, ChatReply]:
    """Find how a server wants to be asked, by a plain question.

    Args:
        chat: sends the payload of a chat completion.
        content: messages of the question.
        tokens: that its answer needs.
        thinking: `off` switches it off, `on` leaves it alone, `auto` switches it off where the model thinks.
        token_budget: most tokens of a reply of a model that thinks.

    Returns:
        The dialect, and the reply to the question.

    Raises:
        CallError: if the server accepts no dialect.
    """
    switches = ("chat_template_kwargs", "reasoning_effort", "") if thinking == "off" else ("",)
    dialect, reply = await _first_accepted(chat, content, tokens, [Dialect(switch=name) for name in switches])
    dialect = replace(dialect, token_budget=token_budget)
    if reply.finish != "length" and not reply.reasoned:
        return dialect, reply
    for switch in ("chat_template_kwargs", "reasoning_effort") if thinking == "auto" else ():
        switched = replace(dialect, switch=switch)
        other = await unless_refused(chat(switched.payload(content, tokens)))
        if other is not None and other.finish != "length" and not other.reasoned:
            return switched, other
    thinking_dialect = replace(dialect, thinks=True)
    longer = await chat(thinking_dialect.payload(content, tokens))
    if longer.reasoned or not reply.text:
        return thinking_dialect, longer
    return dialect, reply  # it only talks much


async def unless_refused(call: Awaitable[ChatReply]) -> ChatReply | None:
    """Return the reply, or None where the server does not support this kind of request."""
    try:
        return await call
    except CallError as error:
        if error.status in _UNSUPPORTED:
            return None
        raise


async def _first_accepted(
    chat: Chat, content: dict[str, Any], tokens: int, starts: list[Dialect]
) -> tuple[Dialect, ChatReply]:
    """Try dialects, those first that avoid what the server complained about."""
    refusal: CallError | None = None
    for start in starts:
        waiting = list(_variants(start))
        while waiting:
            dialect = waiting.pop(0)
            try:
                return dialect, await chat(dialect.payload(content, tokens))
            except CallError as error:
                if error.status not in _WRONG_PARAMETER:
                    raise
                refusal = error
                waiting.sort(key=lambda other: _complaints(str(refusal), dialect, other))
    assert refusal is not None
    raise refusal


def _variants(start: Dialect) -> Iterator[Dialect]:
    for token_field, temperature in product(_TOKEN_FIELDS, (True, False)):
        yield replace(start, token_field=token_field, temperature=temperature)


def _complaints(refusal: str, refused: Dialect, other: Dialect) -> int:
    """Return how many parameters that the refusal names would be sent again."""
    same_tokens = refused.token_field in refusal and other.token_field == refused.token_field
    return same_tokens + ("temperature" in refusal and other.temperature)
