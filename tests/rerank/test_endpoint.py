"""Several servers: the work is shared, a failing one is replaced inside the deadline, another model is refused."""

from contextlib import ExitStack

import pytest
from PIL import Image

from lmm_classifier.core.datatypes import Candidate, RerankRequest
from lmm_classifier.rerank.endpoint import Endpoint, choose
from lmm_classifier.rerank.openai_api import OpenAIReranker
from lmm_classifier.rerank.prompts import PromptOptions
from lmm_classifier.rerank.server_errors import CallError
from lmm_classifier.rerank.server_options import ServerOptions
from tests.helpers.fault_server import ChatServer, FaultServer
from tests.helpers.tiny_qwen2_vl import BUDGET

PROMPTS = PromptOptions(orders=1)


def requests(count):
    candidates = tuple(Candidate(label, 0.5, ()) for label in ("dots", "checker"))
    return [RerankRequest(Image.new("RGB", (56, 56), (number, 0, 0)), candidates) for number in range(count)]


def failures(servers, count=12, rounds=1, **changes):
    """Ask servers, and return the failures and the reranker."""
    with ExitStack() as stack:
        urls = [stack.enter_context(server) for server in servers]
        reranker = OpenAIReranker(ServerOptions(urls, "tiny", **{"deadline": 30.0, **changes}), PROMPTS, BUDGET)
        answers = [answer for _ in range(rounds) for answer in reranker.rerank(requests(count))]
        reranker.close()
    return [answer.failure for answer in answers if answer.failure], reranker


@pytest.mark.long
def test_the_work_is_shared():
    """Servers that serve the same model get about the same number of questions."""
    servers = [ChatServer("logprobs", model="tiny") for _ in range(3)]
    failed, reranker = failures(servers, 60)
    assert failed == []
    counts = [len(server.requests) for server in servers]
    assert min(counts) > 10
    assert all(endpoint.abilities.format == "logprobs" for endpoint in reranker.client.endpoints)


@pytest.mark.parametrize(
    "fault", ["refused", "500", "401", "garbage", "429", "nonsense", pytest.param("silent", marks=pytest.mark.long)]
)
def test_another_server_answers_instead(fault):
    """A server that fails in any way costs no answer, and its circuit breaker or pause spares the others the wait."""
    failed, reranker = failures([FaultServer(fault), ChatServer("logprobs")], count=8, rounds=2)
    assert failed == []
    assert reranker.client.endpoints[1].circuit_breaker.failures == 0


def test_each_server_has_its_own_abilities():
    """One lists log-probabilities, the other wants newer parameters; both answer."""
    servers = [ChatServer("logprobs"), ChatServer("completion_tokens", "no_temperature")]
    failed, reranker = failures(servers, 30)
    assert failed == []
    assert [endpoint.abilities.format for endpoint in reranker.client.endpoints] == ["logprobs", "token"]


@pytest.mark.parametrize("order", [1, -1])
def test_a_server_of_another_model_is_refused_by_name(order, caplog):
    """The one that has the configured name is right, wherever it stands in the list."""
    servers = [ChatServer("logprobs", model="tiny"), ChatServer("logprobs", model="another-model")][::order]
    failed, reranker = failures(servers, 30, rounds=2)
    assert failed == []
    assert "serves 'another-model', but" in caplog.text
    wrong = reranker.client.endpoints[0 if order == -1 else 1]
    assert "another-model" in wrong.circuit_breaker.open_reason()
    assert reranker.served_model == "tiny"
    assert len(servers[0 if order == -1 else 1].requests) < 12  # the probe, and no question


def test_servers_that_say_nothing_or_an_alias_of_their_model_are_used():
    """Where nothing contradicts, nobody is refused."""
    servers = [ChatServer("logprobs"), ChatServer("logprobs", model="/data/tiny-7b"), ChatServer("logprobs")]
    failed, reranker = failures(servers, 30)
    assert failed == []
    assert all(endpoint.circuit_breaker.open_reason() is None for endpoint in reranker.client.endpoints)


def test_all_servers_fail():
    """The failure names each server with its reason."""
    failed, reranker = failures([FaultServer("refused"), FaultServer("500")], 3)
    assert len(failed) == 3
    for text in ("no answer", "500", *(endpoint.url for endpoint in reranker.client.endpoints)):
        assert text in failed[0]


def test_choose():
    """Servers that fail, pause or have more to do come later; an open circuit breaker rules one out."""
    options = ServerOptions(["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"], "tiny", circuit_breaker_failures=2)
    first, second = endpoints = [Endpoint(url, options) for url in options.base_urls]
    assert choose(endpoints, {}, 9) is first
    first.under_way = 1
    assert choose(endpoints, {}, 9) is second
    second.circuit_breaker.failed("down")
    assert choose(endpoints, {}, 9) is first
    first.pacer.refused(first.pacer.sent(), 5.0, "429")
    second.circuit_breaker.succeeded()
    assert choose(endpoints, {}, 9) is second
    assert choose(endpoints, {second: "no"}, 9) is first
    with pytest.raises(CallError, match="after the deadline|another 5.0 s"):
        choose(endpoints, {second: "no"}, 1)
    second.circuit_breaker.failed("down")
    second.circuit_breaker.failed("down")
    with pytest.raises(CallError, match="down"):
        choose(endpoints, {}, 1)
