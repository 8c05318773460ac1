"""A vision-language model behind an OpenAI-compatible server as a reranker: vLLM, SGLang, llama.cpp, Ollama."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from lmm_classifier.core.datatypes import RerankRequest, RerankResult
from lmm_classifier.core.reopening import Reopened
from lmm_classifier.rerank.aggregation import aggregate, failed
from lmm_classifier.rerank.chat_client import CallError, ChatClient, ServerOptions
from lmm_classifier.rerank.image_budget import VisualTokenBudget
from lmm_classifier.rerank.prompts import PromptOptions, make_prompts
from lmm_classifier.rerank.server_probe import Abilities, BlindServerError, probe

logger = logging.getLogger(__name__)

_BLIND_SECONDS = 300.0  # before a server that does not pass images to its model is probed again


class OpenAIReranker(Reopened):
    """Asks a server; every request gets an answer, or a failure with its reason, within the deadline.

    Before the first request, the server is probed for the answer formats that work and for whether its model sees
    images.

    Args:
        options: where and how to ask.
        prompt_options: which prompts to send.
        budget: limits on visual tokens.
        min_option_mass: least probability of all options together, 0 to 1; below it a request counts as failed.
        revision: names the version of the model where that may change.
    """

    trust = (1.0, 1.0)  # equal weights until `calibrate --rerank` measures them

    def __init__(
        self,
        options: ServerOptions,
        prompt_options: PromptOptions | None = None,
        budget: VisualTokenBudget | None = None,
        min_option_mass: float = 0.5,
        revision: str | None = None,
    ) -> None:
        self.options = options
        self.prompt_options = prompt_options or PromptOptions()
        self.budget = budget or VisualTokenBudget()
        self.min_option_mass = min_option_mass
        self.client = ChatClient(options)
        self.abilities: Abilities | None = None
        self._revision = revision

    @property
    def identity(self) -> str:
        """Names all that an answer depends on, apart from the request: server, model, prompts, image sizes."""
        model = f"{self.options.model_name}@{self._revision or '-'}"
        return f"openai_api:{self.options.base_url} {model} {self.min_option_mass} {self.prompt_options} {self.budget}"

    @property
    def references(self) -> int:
        """Number of reference images per candidate that a request should hold."""
        return 0 if self.prompt_options.mode == "names" else self.prompt_options.references

    def rerank(self, requests: Sequence[RerankRequest]) -> list[RerankResult]:
        """Answer each request within the deadline, several at a time."""
        if not requests:
            return []
        return self.client.run(self._rerank, requests)

    def close(self) -> None:
        """Close the connections to the server."""
        self.client.close()

    async def _rerank(self, requests: Sequence[RerankRequest]) -> list[RerankResult]:
        # a request waits for a slot before its deadline begins
        slots = asyncio.Semaphore(self.options.concurrency)

        async def answer_in_slot(request: RerankRequest) -> RerankResult:
            async with slots:
                return await self._answer_in_time(request)

        return list(await asyncio.gather(*map(answer_in_slot, requests)))

    async def _answer_in_time(self, request: RerankRequest) -> RerankResult:
        until = asyncio.get_running_loop().time() + self.options.deadline
        try:
            async with asyncio.timeout_at(until):
                return await self._answer(request, until)
        except TimeoutError:
            return failed(f"no answer from {self.options.base_url} within {self.options.deadline:g} s")
        except CallError as error:
            return failed(f"{self.options.base_url}: {error}")
        except BlindServerError as error:
            return failed(f"{self.options.base_url} does not pass images to its model: {error}")
        except ValueError as error:
            return failed(f"{self.options.base_url}: {error}")

    async def _answer(self, request: RerankRequest, until: float) -> RerankResult:
        abilities = self.abilities or await self._probe_once(until)
        prompts = [self.budget.fit(prompt) for prompt in make_prompts(self.prompt_options, request)]
        tasks = [asyncio.ensure_future(self.client.chat(abilities.payload(prompt), until)) for prompt in prompts]
        try:
            replies = await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # if one failed or the time is over, the others are useless
                task.cancel()
        logs = [abilities.read(reply, prompt, request) for reply, prompt in zip(replies, prompts)]
        pairwise = self.prompt_options.mode == "pairwise"
        return aggregate(prompts, logs, len(request.candidates), self.min_option_mass, pairwise)

    async def _probe_once(self, until: float) -> Abilities:
        """Probe the server; requests that come meanwhile wait for the outcome."""
        async with self.client.lock:
            if self.abilities is None:
                self.abilities = await self._probe(until)
            return self.abilities

    async def _probe(self, until: float) -> Abilities:
        async def chat(payload: dict[str, Any]) -> Any:
            return await self.client.post_once(self.client.chat_url, self.client.with_defaults(payload))

        async def tokenize(payload: dict[str, Any]) -> Any:
            url = f"{self.options.base_url.removesuffix('/v1')}/tokenize"
            return await self.client.post_once(url, {"model": self.options.model_name, **payload})

        try:
            return await self.client.guarded(
                lambda: probe(chat, tokenize, self.prompt_options, self.budget, self.min_option_mass), until
            )
        except BlindServerError as error:
            self.client.circuit_breaker.wait_for(_BLIND_SECONDS, f"it does not pass images to its model ({error})")
            raise
