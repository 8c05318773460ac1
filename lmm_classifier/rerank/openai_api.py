"""A vision-language model behind any OpenAI-compatible server as a reranker: vLLM, SGLang, llama.cpp, Ollama, ..."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from lmm_classifier.core.datatypes import Question, Reranked
from lmm_classifier.rerank.aggregation import failed, tally
from lmm_classifier.rerank.chat_client import CallError, ChatClient, ServerOptions
from lmm_classifier.rerank.image_budget import PictureBudget
from lmm_classifier.rerank.prompts import Asking, write_ballots
from lmm_classifier.rerank.server_probe import Abilities, BlindServerError, probe

logger = logging.getLogger(__name__)

_BLIND_FOR = 300.0  # seconds before a server that shows no pictures to its model is looked at again


class OpenAIReranker:
    """Asks a server; whatever it does, every question gets an answer or a failure with its reason, in time.

    At the first question the server is probed: which kinds of answers really come back, and whether pictures are seen.
    """

    trust = (1.0, 1.0)  # retrieval's log shares and its own count alike until `calibrate --rerank` measures them

    def __init__(
        self,
        options: ServerOptions,
        asking: Asking | None = None,
        budget: PictureBudget | None = None,
        min_label_mass: float = 0.5,
        revision: str | None = None,
    ) -> None:
        self.options = options
        self.asking = asking or Asking()
        self.budget = budget or PictureBudget()
        self.least_mass = min_label_mass
        self.client = ChatClient(options)
        self.abilities: Abilities | None = None
        self._revision = revision
        self._probing: asyncio.Lock | None = None

    @property
    def identity(self) -> str:
        """What the answers depend on, apart from the question: server, model, wording, sizes."""
        name = f"{self.options.model_name}@{self._revision or '-'}"
        return f"openai_api:{self.options.base_url} {name} {self.least_mass} {self.asking} {self.budget}"

    @property
    def references(self) -> int:
        """Reference pictures wanted per candidate."""
        return 0 if self.asking.mode == "names" else self.asking.references

    def rerank(self, questions: Sequence[Question]) -> list[Reranked]:
        """Answer each question, several at a time; each within the deadline."""
        if not questions:
            return []
        return self.client.run(self._rerank(questions))

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    async def _rerank(self, questions: Sequence[Question]) -> list[Reranked]:
        # as many questions as requests may be under way: the next one's deadline begins when its turn comes
        turns = asyncio.Semaphore(self.options.concurrency)

        async def in_turn(question: Question) -> Reranked:
            async with turns:
                return await self._in_time(question)

        return list(await asyncio.gather(*map(in_turn, questions)))

    async def _in_time(self, question: Question) -> Reranked:
        until = asyncio.get_running_loop().time() + self.options.deadline
        try:
            async with asyncio.timeout_at(until):
                return await self._answer(question, until)
        except TimeoutError:
            return failed(f"no answer from {self.options.base_url} within {self.options.deadline:g} s")
        except CallError as error:
            return failed(f"{self.options.base_url}: {error}")
        except BlindServerError as error:
            return failed(f"{self.options.base_url} does not show pictures to its model: {error}")
        except ValueError as error:
            return failed(f"{self.options.base_url}: {error}")

    async def _answer(self, question: Question, until: float) -> Reranked:
        abilities = self.abilities or await self._probed(until)
        ballots = [self.budget.fit(ballot) for ballot in write_ballots(self.asking, question)]
        tasks = [asyncio.ensure_future(self.client.chat(abilities.payload(one), until)) for one in ballots]
        try:
            replies = await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # one failed, or the time is over: the rest is of no use
                task.cancel()
        logs = [abilities.read(reply, ballot, question) for reply, ballot in zip(replies, ballots)]
        pairwise = self.asking.mode == "pairwise"
        return tally(ballots, logs, len(question.candidates), self.least_mass, pairwise)

    async def _probed(self, until: float) -> Abilities:
        """Probe once; who comes meanwhile waits for the outcome."""
        if self._probing is None:
            self._probing = asyncio.Lock()
        async with self._probing:
            if self.abilities is None:
                self.abilities = await self._probe(until)
            return self.abilities

    async def _probe(self, until: float) -> Abilities:
        async def chat(payload: dict[str, Any]) -> Any:
            return await self.client.once(self.client.chat_url, self.client.filled(payload))

        async def tokenize(payload: dict[str, Any]) -> Any:
            url = f"{self.options.base_url.removesuffix('/v1')}/tokenize"
            return await self.client.once(url, {"model": self.options.model_name, **payload})

        try:
            return await self.client.guarded(
                lambda: probe(chat, tokenize, self.asking, self.budget, self.least_mass), until
            )
        except BlindServerError as error:
            self.client.breaker.wait_for(_BLIND_FOR, f"it does not show pictures to its model ({error})")
            raise
