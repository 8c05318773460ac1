"""A vision-language model behind OpenAI-compatible servers as a reranker: vLLM, SGLang, llama.cpp, Ollama."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from lmm_classifier.core.datatypes import RerankRequest, RerankResult
from lmm_classifier.core.reopening import Reopened
from lmm_classifier.rerank.aggregation import aggregate, failed
from lmm_classifier.rerank.answer_formats import Abilities
from lmm_classifier.rerank.chat_client import ChatClient, seconds_left
from lmm_classifier.rerank.chat_reply import ChatReply, ReplyError
from lmm_classifier.rerank.endpoint import Endpoint, choose
from lmm_classifier.rerank.image_budget import VisualTokenBudget
from lmm_classifier.rerank.prompts import PromptOptions, make_prompts
from lmm_classifier.rerank.server_errors import CallError, UnusableServerError
from lmm_classifier.rerank.server_options import ServerOptions
from lmm_classifier.rerank.server_probe import ServerProbe

logger: logging.Logger = logging.getLogger(__name__)

_PROBE_DEADLINES = 10.0  # the time for a probe, in deadlines of an image
_COMPARE_SECONDS = 5.0  # to probe the other servers, where the name of a model is another
_UNUSABLE_SECONDS = 300.0  # before a server that cannot be used is probed again


class OpenAIReranker(Reopened):
    """Asks servers; every request gets an answer, or a failure with its reason, within the deadline.

    Before its first request, each server is probed for its dialect, for the answer formats that work and for whether
    its model sees images. If one server fails, another one is asked.

    Args:
        options: where and how to ask.
        prompt_options: which prompts to send.
        budget: limits on visual tokens.
        min_option_mass: least probability of all options together, 0 to 1; below it a request counts as failed.
        revision: names the version of the model where that may change.
    """

    trust: tuple[float, float] = (1.0, 1.0)  # equal weights until `calibrate --rerank` measures them

    def __init__(
        self,
        options: ServerOptions,
        prompt_options: PromptOptions | None = None,
        budget: VisualTokenBudget | None = None,
        min_option_mass: float = 0.5,
        revision: str | None = None,
    ) -> None:
        self.options = options
        self.prompt_options: PromptOptions = prompt_options or PromptOptions()
        self.budget: VisualTokenBudget = budget or VisualTokenBudget()
        self.min_option_mass = min_option_mass
        self.client: ChatClient = ChatClient(options)
        self._revision = revision

    @property
    def identity(self) -> str:
        """Names all that an answer depends on, apart from the request: model, prompts, image sizes; not where it runs.

        What a server says of its model is in `served_model`.
        """
        model = f"{self.options.model_name}@{self._revision or '-'}"
        asked = f"{self.min_option_mass} {self.prompt_options} {self.budget}"
        return f"openai_api:{model} {asked} {self.options.request_settings}".rstrip()

    @property
    def served_model(self) -> str:
        """What the servers say of their model; empty until one was probed, or where they say nothing."""
        said = [endpoint.abilities.model for endpoint in self.client.endpoints if endpoint.abilities]
        return next(filter(None, said), "")

    @property
    def abilities(self) -> Abilities | None:
        """What the first server that was probed supports; None before."""
        return next(filter(None, (endpoint.abilities for endpoint in self.client.endpoints)), None)

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
        """Close the connections to the servers."""
        self.client.close()

    async def _rerank(self, requests: Sequence[RerankRequest]) -> list[RerankResult]:
        return list(await asyncio.gather(*map(self._answer_in_turn, requests)))

    async def _answer_in_turn(self, request: RerankRequest) -> RerankResult:
        """Answer when fewer images are under way than the servers can answer in half the deadline.

        The deadline of a request begins then.
        """
        turn: asyncio.Condition = self.client.shared("turn", asyncio.Condition)
        under_way: list[RerankRequest] = self.client.shared("under way", list)
        async with turn:
            await turn.wait_for(lambda: len(under_way) < self._most_under_way(request))
            under_way.append(request)
        try:
            return await self._answer_in_time(request)
        finally:
            under_way.pop()
            async with turn:
                turn.notify(max(1, self._most_under_way(request) - len(under_way)))

    def _most_under_way(self, request: RerankRequest) -> int:
        most = self.options.concurrency * len(self.client.endpoints)
        rate = sum(endpoint.pacer.rate for endpoint in self.client.endpoints)
        if rate == math.inf:
            return most
        pairs = self.prompt_options.mode == "pairwise"
        prompts = sum(map(len, request.references)) if pairs else self.prompt_options.orders
        return max(1, min(most, int(rate * self.options.deadline / 2 / max(1, prompts))))

    async def _answer_in_time(self, request: RerankRequest) -> RerankResult:
        patient = self.options.patient
        until = math.inf if patient else asyncio.get_running_loop().time() + self.options.deadline
        urls = " and ".join(endpoint.url for endpoint in self.client.endpoints)
        try:
            async with asyncio.timeout_at(None if patient else until):
                return await self._answer_anywhere(request, until)
        except TimeoutError:
            return failed(f"no answer from {urls} within {self.options.deadline:g} s")
        except CallError as error:
            return failed(str(error))
        except ValueError as error:  # the question cannot be asked
            return failed(self.options.quote(str(error)))

    async def _answer_anywhere(self, request: RerankRequest, until: float) -> RerankResult:
        """Ask one server after the other until one answers."""
        tried: dict[Endpoint, str] = {}
        while True:
            endpoint = choose(self.client.endpoints, tried, seconds_left(until))
            rest = [other for other in self.client.endpoints if other is not endpoint and other not in tried]
            others = sum(other.unavailable(seconds_left(until)) is None for other in rest)
            share = min(seconds_left(until), self.options.deadline) / (others + 1) if others else math.inf
            endpoint.under_way += 1
            try:
                async with asyncio.timeout(None if share == math.inf else share):
                    return await self._answer_at(endpoint, request, until, bool(others))
            except TimeoutError:
                if not endpoint.pacer.delay():  # else it asked to wait, which is no failure
                    endpoint.circuit_breaker.failed(f"no answer within {share:.3g} s")
                tried[endpoint] = f"no answer within {share:.3g} s"
            except (CallError, UnusableServerError) as error:
                tried[endpoint] = str(error)
            except ReplyError as error:
                tried[endpoint] = error.describe(self.options.secrets())
            finally:
                endpoint.under_way -= 1

    async def _answer_at(self, endpoint: Endpoint, request: RerankRequest, until: float, others: bool) -> RerankResult:
        abilities = endpoint.abilities or await self._probe_once(endpoint, until)
        if not endpoint.compared and len(self.client.endpoints) > 1:
            await self._compare_models(endpoint, abilities, until)
        prompts = [self.budget.fit(prompt) for prompt in make_prompts(self.prompt_options, request)]
        retries = 0 if others else self.options.retries  # another server is the better second attempt
        tasks = [
            asyncio.ensure_future(self.client.chat(endpoint, abilities.payload(prompt), until, retries))
            for prompt in prompts
        ]
        try:
            replies = await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # if one failed or the time is over, the others are useless
                task.cancel()
        logs = [abilities.read(reply, prompt, request) for reply, prompt in zip(replies, prompts)]
        pairwise = self.prompt_options.mode == "pairwise"
        return aggregate(prompts, logs, len(request.candidates), self.min_option_mass, pairwise)

    async def _probe_once(self, endpoint: Endpoint, until: float) -> Abilities:
        """Probe a server; requests that come meanwhile wait for the outcome.

        A probe has the time of several images: it does not end with the image that began it.
        """
        probes: dict[Endpoint, asyncio.Task[Abilities]] = self.client.shared("probes", dict)
        if endpoint not in probes:
            ends = until + (_PROBE_DEADLINES - 1) * self.options.deadline
            probes[endpoint] = asyncio.ensure_future(self._probe(endpoint, ends))
            probes[endpoint].add_done_callback(lambda probe: _probed(probes, endpoint, probe))
        return await asyncio.shield(probes[endpoint])

    async def _probe(self, endpoint: Endpoint, until: float) -> Abilities:
        async def chat(payload: dict[str, Any]) -> ChatReply:
            return await self.client.probe_chat(endpoint, payload, until)

        async def fetch(route: str, payload: dict[str, Any] | None) -> bytes:
            base = endpoint.url.removesuffix("/v1") if route == "tokenize" else endpoint.url
            body = None if payload is None else {"model": self.options.model_name, **payload}
            return await self.client.fetch(endpoint, f"{base}/{route}", body, until)

        async def run() -> Abilities:
            try:
                return await server_probe.run()
            except CallError as error:
                if error.status is not None:  # a server that refuses every test request does not work
                    error.fault = True
                raise

        options = self.options
        server_probe = ServerProbe(
            chat,
            fetch,
            self.prompt_options,
            self.budget,
            options.model_name,
            options.thinking,
            options.token_budget,
            self.min_option_mass,
            options.secrets(),
        )
        try:
            return await self.client.guarded(endpoint, run, until)
        except UnusableServerError as error:
            endpoint.circuit_breaker.wait_for(_UNUSABLE_SECONDS, str(error))
            raise

    async def _compare_models(self, endpoint: Endpoint, abilities: Abilities, until: float) -> None:
        """Raise UnusableServerError where another server serves another model.

        A server whose model has the configured name is right; else the first one is. Where the name differs, which may
        be an alias, the other servers are probed first.
        """
        others = [other for other in self.client.endpoints if other is not endpoint]
        if abilities.model not in {"", self.options.model_name}:
            unknown = [other for other in others if not other.abilities and not other.unavailable(seconds_left(until))]
            probes = [self._probe_once(other, until) for other in unknown]
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_COMPARE_SECONDS, self.options.deadline / 6)):
                    await asyncio.gather(*probes, return_exceptions=True)
        for other in others:
            if other.abilities is None or "" in (named := {abilities.model, other.abilities.model}) or len(named) == 1:
                continue
            wrong, right = (endpoint, other) if abilities.model != self.options.model_name else (other, endpoint)
            self._refuse(wrong, right, {endpoint: abilities.model, other: other.abilities.model})
            if wrong is endpoint:
                raise UnusableServerError(endpoint.circuit_breaker.open_reason() or "it serves another model")
        endpoint.compared = True

    def _refuse(self, wrong: Endpoint, right: Endpoint, models: dict[Endpoint, str]) -> None:
        reason = (
            f"{wrong.url} serves {models[wrong]!r}, but {right.url} serves {models[right]!r}: all URLs of "
            "rerank.server.base_url must serve the same model"
        )
        logger.warning("A server is not used: %s", self.options.quote(reason, 400))
        wrong.abilities, wrong.compared = None, False
        wrong.circuit_breaker.wait_for(_UNUSABLE_SECONDS, reason)


def _probed(
    probes: dict[Endpoint, asyncio.Task[Abilities]], endpoint: Endpoint, probe: asyncio.Task[Abilities]
) -> None:
    """Keep what a probe learned; it may end with the session, when nothing of that can be asked."""
    probes.pop(endpoint, None)
    if not probe.cancelled() and probe.exception() is None:
        endpoint.abilities = probe.result()
