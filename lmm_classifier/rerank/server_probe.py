"""Find out what a server supports by test requests: its dialect, log-probabilities, constrained answers, and images.

Servers silently ignore what they do not support, so only what comes back in a reply counts as supported.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any, Literal

import numpy as np

from lmm_classifier.rerank.aggregation import aggregate
from lmm_classifier.rerank.answer_formats import Abilities, AnswerFormat, messages, plain_tokens
from lmm_classifier.rerank.chat_reply import ChatReply, ReplyError, models_of, tokens_of
from lmm_classifier.rerank.dialect import Chat, Dialect, learn_dialect, unless_refused
from lmm_classifier.rerank.drawn_questions import drawn_questions
from lmm_classifier.rerank.image_budget import VisualTokenBudget
from lmm_classifier.rerank.prompts import PromptOptions, PromptVariant
from lmm_classifier.rerank.responses import read_json_choice, read_log_probabilities, read_text_choice
from lmm_classifier.rerank.server_errors import CallError, UnusableServerError

logger: logging.Logger = logging.getLogger(__name__)

Fetch = Callable[[str, dict[str, Any] | None], Awaitable[bytes]]

_NONSENSE = ("qx", "zj")  # no model generates these unasked: they prove that the answer was constrained
_MIN_FIRST_TOKEN_MASS = 0.5  # of all options together; below it the first token is not the answer


@dataclass(frozen=True, slots=True)
class ServerProbe:
    """Test requests to one server."""

    chat: Chat
    """Sends the payload of a chat completion and returns the reply."""
    fetch: Fetch
    """Posts a payload to the `tokenize` route of the server, or gets the `models` route; returns the body."""
    prompt_options: PromptOptions
    """How questions are asked."""
    budget: VisualTokenBudget
    """Limits on visual tokens."""
    model_name: str
    """The model that is asked for."""
    thinking: Literal["auto", "on", "off"] = "auto"
    """Whether the model may think before it answers."""
    token_budget: int = 2048
    """Most tokens of a reply of a model that thinks."""
    min_option_mass: float = 0.5
    """Least probability of all options together, 0 to 1."""
    secrets: Collection[str] = ()
    """What no message may contain."""

    async def run(self) -> Abilities:
        """Find the best answer format that works, and check that the model sees images.

        Raises:
            UnusableServerError: if the model does not see images, or its replies are not understood.
            CallError: if the server does not answer.
            ReplyError: if a reply is not a chat completion.
        """
        prompt = drawn_questions(self.prompt_options, self.budget)[0][1][0]
        dialect, plain = await learn_dialect(
            self.chat, messages(prompt), plain_tokens(), self.thinking, self.token_budget
        )
        abilities = Abilities(await self._best_format(dialect, prompt), dialect=dialect)
        if abilities.format == "logprobs":
            abilities = replace(abilities, letter_tokens=await self._letter_tokens(abilities, prompt))
        await self._require_sight(abilities)
        abilities = replace(abilities, model=await self._model(plain))
        logger.info("Answer format of the server: %s", abilities.format)
        return abilities

    async def _best_format(self, dialect: Dialect, prompt: PromptVariant) -> AnswerFormat:
        nonsense = PromptVariant(("Say hello.",), _NONSENSE, (0, 1))
        if not dialect.thinks and await self._lists_options(Abilities("logprobs", dialect=dialect), prompt):
            return "logprobs"
        for answer_format in ("choice", "json"):
            reply = await self._reply(Abilities(answer_format, dialect=dialect).payload(nonsense))
            text = reply.text if reply else ""
            in_json = read_json_choice(text, _NONSENSE) is not None
            if in_json if answer_format == "json" else text in _NONSENSE:
                return answer_format
        if dialect.thinks:
            return "text"
        reply = await self._reply(Abilities("token", dialect=dialect).payload(prompt))
        understood = reply is not None and read_text_choice(reply.text, prompt.answers, ()) is not None
        return "token" if understood else "text"

    async def _lists_options(self, abilities: Abilities, prompt: PromptVariant, every: bool = False) -> bool:
        """Return whether the first token is an answer: the options hold most of its probability."""
        reply = await self._reply(abilities.payload(prompt))
        logs = None if reply is None else read_log_probabilities(reply.first_token, prompt.answers)
        if logs is None or (every and not np.isfinite(logs).all()):
            return False
        return bool(np.exp(logs).sum() >= _MIN_FIRST_TOKEN_MASS)

    async def _reply(self, payload: dict[str, Any]) -> ChatReply | None:
        """Return the reply; None where the server refuses the request or its reply cannot be read."""
        try:
            return await unless_refused(self.chat(payload))
        except ReplyError:
            return None

    async def _letter_tokens(self, abilities: Abilities, prompt: PromptVariant) -> tuple[int, ...]:
        """Return the token ids of the letters where the server can list exactly those (vLLM); else an empty tuple."""
        tokens = []
        for letter in ascii_uppercase:
            try:
                listed = tokens_of(await self.fetch("tokenize", {"prompt": letter, "add_special_tokens": False}))
            except CallError:
                return ()
            if len(listed) != 1:
                return ()
            tokens += listed
        with_tokens = replace(abilities, letter_tokens=tuple(tokens))
        return tuple(tokens) if await self._lists_options(with_tokens, prompt, every=True) else ()

    async def _require_sight(self, abilities: Abilities) -> None:
        """Ask two questions with known answers; if one is wrong, check that images add to the number of prompt tokens.

        A reply that is not understood says nothing about what the model sees, so it is never counted as wrong.
        """
        correct, faults, with_image = list[bool](), list[str](), None
        for request, prompts in drawn_questions(self.prompt_options, self.budget):
            replies = await asyncio.gather(*[self.chat(abilities.payload(prompt)) for prompt in prompts])
            with_image = replies[0].prompt_tokens
            try:
                logs = [abilities.read(reply, prompt, request) for reply, prompt in zip(replies, prompts)]
            except ReplyError as error:
                faults.append(error.describe(self.secrets))
                continue
            answer = aggregate(prompts, logs, 2, self.min_option_mass, pairwise=False)
            if answer.failure:
                faults.append(answer.failure)
            else:
                correct.append(answer.scores[0] > answer.scores[1])
        if not correct:
            raise UnusableServerError(f"its replies to test questions were not understood: {faults[0]}")
        if all(correct) and not faults:
            return
        without_image = await self._tokens_without_image(abilities)
        if with_image is not None and without_image is not None:
            if with_image - without_image < self.budget.least / 4:
                counts = f"a question had {with_image} tokens with an image and {without_image} without it"
                raise UnusableServerError(f"it does not pass images to its model: {counts}")
        elif not all(correct):
            raise UnusableServerError(
                "it does not pass images to its model: it confused a circle and a triangle, and it does not report how "
                "many tokens it read"
            )
        self._warn(all(correct), faults, with_image, without_image)

    async def _tokens_without_image(self, abilities: Abilities) -> int | None:
        prompt = drawn_questions(self.prompt_options, self.budget)[1][1][-1]
        text_only = replace(prompt, parts=tuple(part for part in prompt.parts if isinstance(part, str)))
        return (await self.chat(abilities.payload(text_only))).prompt_tokens

    def _warn(self, correct: bool, faults: list[str], with_image: int | None, without_image: int | None) -> None:
        if not correct:
            logger.warning(
                "The server reads images (%s tokens with one, %s without), but its model confused a circle and a "
                "triangle. Measure whether reranking helps before you rely on it.",
                with_image,
                without_image,
            )
        if faults:
            logger.warning("Some replies of the server to test questions were not understood: %s", faults[0])

    async def _model(self, reply: ChatReply) -> str:
        """Return what the server says of its model: the name of its weights where it lists them, else of the reply."""
        try:
            listed = models_of(await self.fetch("models", None))
        except CallError:
            listed = {}
        if self.model_name in listed:
            return listed[self.model_name]
        if reply.model and reply.model != self.model_name:
            return reply.model
        return next(iter(listed.values())) if len(listed) == 1 else reply.model or ""
