"""A model behind a server: its answer format is detected, and every failure comes in time with its reason."""

import json
import logging
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Candidate, RerankRequest
from lmm_classifier.core.errors import ConfigError, RerankerError
from lmm_classifier.rerank.image_budget import VisualTokenBudget
from lmm_classifier.rerank.openai_api import OpenAIReranker
from lmm_classifier.rerank.prompts import PromptOptions
from lmm_classifier.rerank.server_options import ServerOptions
from tests.helpers.fault_server import ChatServer, FaultServer
from tests.helpers.tiny_qwen2_vl import BUDGET

KEY = "hush-hush"


def options(url, **changes):
    return replace(ServerOptions(url, "tiny", deadline=30.0), **changes)


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def request(labels=("dots", "checker", "zigzag")):
    candidates = tuple(Candidate(label, 1 / 3, ()) for label in labels)
    return RerankRequest(Image.new("RGB", (90, 60), (9, 80, 200)), candidates)


def answer_of(*abilities, **changes):
    server = ChatServer(*abilities)
    with server as url:
        reranker = OpenAIReranker(options(url, **changes), PromptOptions(), VisualTokenBudget(4, 16, 64))
        (answer,) = reranker.rerank([request()])
        reranker.close()
    return server, reranker, answer


@pytest.mark.parametrize("strict", [(), ("strict",)])
@pytest.mark.parametrize(
    ("abilities", "answer_format"),
    [(["logprobs"], "logprobs"), (["choice"], "choice"), (["json"], "json"), ([], "token"), (["sentence"], "text")],
)
def test_it_uses_the_best_answer_format_that_works(abilities, answer_format, strict):
    """Whether a server refuses an unsupported format or silently ignores it, the next best one is used."""
    server, reranker, answer = answer_of(*abilities, *strict)
    assert answer.failure == ""
    assert reranker.abilities.format == answer_format
    # the server always answers A, which is checker in one order and zigzag in the other
    assert answer.disagreement > 0.2
    assert answer.scores[0] < max(answer.scores)
    assert all(request["temperature"] == 0 and request["model"] == "tiny" for request in server.requests)


def test_log_probabilities_of_just_the_letters():
    """If the server tokenizes, log-probabilities of exactly the letters are requested, and all of them come."""
    server, reranker, answer = answer_of("logprobs", "tokenize")
    assert reranker.abilities.letter_tokens[:3] == (65, 66, 67)
    assert server.requests[-1]["logprob_token_ids"] == [65, 66, 67]
    assert answer.option_mass == pytest.approx(np.exp(-0.2) + 2 * np.exp(-3.0))
    # the letter A counts for checker in one order and for zigzag in the other
    assert answer.scores == pytest.approx([0.02, 0.49, 0.49], abs=0.1)


def test_images_are_sent_as_data_urls():
    """Small images are sent as PNG, large ones as JPEG."""
    server, _, _ = answer_of("logprobs")
    urls = [part["image_url"]["url"] for part in server.requests[-1]["messages"][0]["content"] if "image_url" in part]
    assert len(urls) == 1
    assert urls[0].startswith("data:image/png;base64,")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8))
    with (server := ChatServer("logprobs")) as url:
        reranker = OpenAIReranker(options(url), PromptOptions(), VisualTokenBudget())
        reranker.rerank([replace(request(), image=noise)])
    assert "data:image/jpeg;base64," in str(server.requests[-1])


@pytest.mark.parametrize(
    ("abilities", "reason"),
    [(["logprobs", "blind"], "tokens with an image"), (["blind", "uncounted"], "does not report how many tokens")],
)
def test_a_server_that_drops_images_is_detected(abilities, reason):
    """If the model sees no images, every request fails with the reason after a few probe calls."""
    server = ChatServer(*abilities)
    with server as url:
        reranker = OpenAIReranker(options(url), PromptOptions(), BUDGET)
        answers = reranker.rerank([request()] * 20)
    assert all(answer.failure for answer in answers)
    assert "does not pass images" in answers[0].failure
    assert reason in answers[0].failure
    assert len(server.requests) <= 10


def test_a_weak_model_causes_a_warning(caplog):
    """A model that sees images but confuses a circle and a triangle is used, with a warning."""
    _, _, answer = answer_of("logprobs", "weak")
    assert answer.failure == ""
    assert "confused a circle and a triangle" in caplog.text


def test_in_pairs_and_by_references():
    """Reference images are sent along, and yes or no is accepted as an answer."""
    with_examples = replace(request(), references=((Image.new("RGB", (60, 60)),),) * 3)
    for mode, images in (("references", 4), ("pairwise", 2)):
        with (server := ChatServer()) as url:
            reranker = OpenAIReranker(options(url), PromptOptions(mode), VisualTokenBudget(4, 16, 64))
            (answer,) = reranker.rerank([with_examples])
        assert answer.failure == ""
        assert str(server.requests[-1]).count("data:image") == images


def test_a_key_is_read_from_the_environment_and_never_shown(monkeypatch, caplog):
    """It is sent as a bearer token; no failure, log line or repr contains it, even if the server repeats it."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server, reranker, _ = answer_of("logprobs")
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    with FaultServer("401") as url:
        failing = OpenAIReranker(options(url))
        (answer,) = failing.rerank([request()])
    assert "401" in answer.failure
    for text in (answer.failure, caplog.text, repr(reranker.options), repr(failing.client), failing.identity):
        assert KEY not in text
    monkeypatch.delenv("OPENAI_API_KEY")
    server, _, _ = answer_of("logprobs")
    assert not any("Authorization" in headers for headers in server.headers)


def test_a_url_with_a_password_is_refused():
    """A configuration must not contain keys or passwords."""
    for url in ("http://me:secret@127.0.0.1/v1", "http://127.0.0.1/v1?key=secret", "ftp://127.0.0.1/", "127.0.0.1:80"):
        with pytest.raises(ConfigError, match="base_url") as caught:
            PipelineConfig(rerank={"base_url": url})
        assert "secret" not in str(caught.value).partition("got")[0]


@pytest.fixture
def short_pauses(monkeypatch):
    """Pauses after refusals begin short, for tests of how often a server is asked and not of how soon."""
    monkeypatch.setattr("lmm_classifier.rerank.pacing._FIRST_PAUSE", 0.01)


BUSY = (429, {"Retry-After": "0"}, b"{}")
LOADING = (503, {}, b"{}")
GATEWAY = (502, {}, b"{}")


def after_probe(fail, **changes):
    """The answer of a server that fails like this after a successful probe, the number of its requests, the client."""
    server = ChatServer("logprobs")
    with server as url:
        reranker = OpenAIReranker(options(url), replace(PromptOptions(), orders=1), BUDGET)
        assert reranker.rerank([request()])[0].failure == ""
        reranker.options = reranker.client.options = options(url, **changes)
        before = len(server.requests)
        server.fail[:] = fail
        (answer,) = reranker.rerank([request()])
        reranker.close()
        return answer, len(server.requests) - before, reranker.client


def test_retries(monkeypatch):
    """502 is retried as often as allowed, 500 and 400 never."""
    monkeypatch.setattr("lmm_classifier.rerank.chat_client._FIRST_WAIT", 0.01)  # how often counts here, not how soon
    assert after_probe([GATEWAY, GATEWAY])[0].failure == ""
    answer, calls, _ = after_probe([GATEWAY] * 9, retries=1)
    assert "502" in answer.failure
    assert calls == 2
    for status in (500, 400, 401):
        answer, calls, _ = after_probe([(status, {}, b"no")])
        assert str(status) in answer.failure
        assert calls == 1


def test_a_server_that_asks_to_slow_down_is_asked_again_and_not_broken(short_pauses):
    """429 and 503 are asked again as often as needed inside the deadline, and open no circuit breaker."""
    answer, calls, client = after_probe([BUSY, BUSY, LOADING], retries=0)
    assert (answer.failure, calls) == ("", 4)
    assert client.endpoints[0].circuit_breaker.failures == 0
    answer, _, client = after_probe([LOADING] * 99, deadline=0.6)
    assert "503" in answer.failure or "within" in answer.failure
    assert client.endpoints[0].circuit_breaker.failures <= 1  # on a busy machine the last attempt may be late


def test_a_spent_quota_is_not_waited_for():
    """A 429 that says that nothing is left fails at once."""
    answer, calls, _ = after_probe([(429, {}, b'{"error": {"code": "insufficient_quota"}}')] * 9)
    assert "insufficient_quota" in answer.failure
    assert calls == 1


def test_retry_after_is_honored():
    """A short wait is respected; a wait beyond the deadline fails this request and the next ones at once."""
    started = time.monotonic()
    assert after_probe([(429, {"Retry-After": "0.5"}, b"{}")])[0].failure == ""
    assert time.monotonic() - started >= 0.5  # the first pause that no server asks for is half as long
    server = ChatServer("logprobs")
    with server as url:
        reranker = OpenAIReranker(options(url), PromptOptions(), BUDGET)
        reranker.rerank([request()])
        server.fail[:] = [(429, {"Retry-After": "3600"}, b"{}")] * 2
        before = len(server.requests)
        answers = [reranker.rerank([request()])[0] for _ in range(5)]
        assert len(server.requests) - before <= 2
        reranker.close()
    assert all("429" in answer.failure for answer in answers)
    assert "is not asked for another" in answers[-1].failure


@pytest.mark.parametrize(
    "refusal", [(529, {}, b"{}"), (200, {}, b'{"error": {"code": 429, "message": "too many requests"}}')], ids=str
)
def test_every_way_to_say_slow_down_is_waited_for(refusal, short_pauses):
    """An overloaded server, or a router that passes the refusal on with status 200, is not broken."""
    answer, _, client = after_probe([refusal] * 2, circuit_breaker_failures=1, retries=0)
    assert answer.failure == ""
    assert client.endpoints[0].circuit_breaker.failures == 0


@pytest.mark.long
@pytest.mark.parametrize("retry_after", [None, 1])
def test_a_rate_limited_server_answers_all(retry_after):
    """At 6 requests per second and the default deadline, 40 of 40 images are answered, also while it is probed."""
    server = ChatServer("logprobs", "tokenize", per_second=6, retry_after=retry_after)
    with server as url:
        reranker = OpenAIReranker(ServerOptions(url, "tiny"), PromptOptions(), BUDGET)
        answers = reranker.rerank([request() for _ in range(40)])
        reranker.close()
    assert [answer.failure for answer in answers] == [""] * 40
    assert reranker.client.endpoints[0].circuit_breaker.failures == 0
    assert len(server.requests) < 200  # 80 are needed, and those of the probe


@pytest.mark.long
def test_a_measurement_waits_as_long_as_it_takes():
    """Without a deadline for the whole, a wait beyond it is waited for."""
    answer, _, _ = after_probe([(429, {"Retry-After": "20"}, b"{}")], deadline=15)
    assert "429" in answer.failure
    answer, _, _ = after_probe([(429, {"Retry-After": "6"}, b"{}")], deadline=5, patient=True)
    assert answer.failure == ""


@pytest.mark.parametrize("orders", [1, pytest.param(2, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("abilities", "answer_format", "thinks", "switch"),
    [
        (["completion_tokens", "no_temperature"], "token", False, ""),
        (["completion_tokens", "logprobs"], "logprobs", False, ""),
        (["no_temperature", "json", "strict"], "json", False, ""),
        (["chunks"], "token", False, ""),
        (["empty_think", "logprobs"], "logprobs", False, ""),
        (["think", "logprobs", "switch"], "logprobs", False, "chat_template_kwargs"),
        (["think"], "text", True, ""),
        (["open_think", "completion_tokens"], "text", True, ""),
        (["reasoning", "choice"], "choice", True, ""),
        (["hidden", "no_temperature", "completion_tokens"], "text", True, ""),
    ],
)
def test_the_dialect_of_newer_servers_is_learned(abilities, answer_format, thinks, switch, orders, caplog):
    """Other names of parameters, thoughts before the answer and chunks: the answer is found, and no shape confused."""
    server = ChatServer(*abilities)
    with server as url:
        reranker = OpenAIReranker(options(url), replace(PromptOptions(), orders=orders), VisualTokenBudget(4, 16, 64))
        (answer,) = reranker.rerank([request()])
        reranker.close()
    assert answer.failure == ""
    dialect = reranker.abilities.dialect
    assert (reranker.abilities.format, dialect.thinks, dialect.switch) == (answer_format, thinks, switch)
    assert "triangle" not in caplog.text
    assert len(server.requests) < 20


@pytest.mark.long
def test_a_model_that_thinks_long_is_probed_for_longer_than_a_deadline():
    """The first image is given up in time, the probe does not end, and later images are answered."""
    with ChatServer("think", seconds=0.6) as url:
        reranker = OpenAIReranker(options(url, deadline=1.5), PromptOptions(), BUDGET)
        failures = [reranker.rerank([request()])[0].failure for _ in range(8)]
        reranker.close()
    assert "within 1.5 s" in failures[0]
    assert failures[-1] == ""


def test_log_probabilities_of_a_thought_are_not_used():
    """Where the first token is not the answer, its probabilities say nothing."""
    first = {"token": "<think>", "logprob": -0.01, "top_logprobs": [{"token": "A", "logprob": -6.0}]}

    class Thinking(ChatServer):
        def reply(self, payload):
            values = json.loads(super().reply(payload))
            if payload.get("logprobs"):
                values["choices"][0]["logprobs"] = {"content": [first]}
            return json.dumps(values).encode()

    with Thinking("choice") as url:
        reranker = OpenAIReranker(options(url), PromptOptions(), BUDGET)
        assert reranker.rerank([request()])[0].failure == ""
        assert reranker.abilities.format == "choice"
        reranker.close()


def test_thinking_can_be_switched_off_or_left_alone():
    """`off` sends the switch with the first request; `on` never sends it and leaves room for thoughts."""
    server, _, answer = answer_of("think", "switch", thinking="off")
    assert answer.failure == ""
    assert all(request["chat_template_kwargs"] == {"enable_thinking": False} for request in server.requests)
    server, _, answer = answer_of("think", "switch", thinking="on", token_budget=500)
    assert answer.failure == ""
    assert not any("chat_template_kwargs" in request for request in server.requests)
    assert server.requests[-1]["max_tokens"] == 500
    _, _, answer = answer_of("strict_fields", thinking="off")
    assert answer.failure == ""  # the server knows no switch, and its model does not think
    _, _, answer = answer_of("think", thinking="on", token_budget=100)
    assert "token_budget" in answer.failure


def test_replies_that_are_not_understood_are_named():
    """A server that nobody understands is not accused of confusing shapes, and is asked no more."""
    server = ChatServer("gibberish")
    with server as url:
        reranker = OpenAIReranker(options(url), PromptOptions(), BUDGET)
        answers = reranker.rerank([request()] * 20)
        reranker.close()
    assert all("not understood" in answer.failure and "Lorem ipsum" in answer.failure for answer in answers)
    assert "triangle" not in answers[0].failure
    assert len(server.requests) < 12


MALFORMED = [
    b'{"choices": [{"message": {}, "logprobs": {"content": [{"token": "A", "logprob": -1, "top_logprobs": 5}]}}]}',
    b'{"choices": [{"message": {"content": 7}}]}',
    b"[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("body", MALFORMED)
def test_a_malformed_reply_costs_only_its_own_question(body):
    """The other questions of the batch are answered."""
    server = ChatServer("logprobs")
    with server as url:
        reranker = OpenAIReranker(options(url), replace(PromptOptions(), orders=1), BUDGET)
        assert reranker.rerank([request()])[0].failure == ""
        server.fail[:] = [(200, {}, body)]
        answers = reranker.rerank([request() for _ in range(8)])
        reranker.close()
    failures = [answer.failure for answer in answers if answer.failure]
    assert len(failures) == 1
    assert "malformed" in failures[0] or "not JSON" in failures[0]


def test_extra_fields_and_headers_are_sent(monkeypatch):
    """`extra_body` adds, replaces and removes fields; headers get their values from the environment."""
    monkeypatch.setenv("GATEWAY", KEY)
    body = {"seed": 7, "temperature": None, "provider": {"order": ["a"]}}
    server, _, answer = answer_of("logprobs", extra_body=body, extra_headers={"X-Gateway": SecretStr("${GATEWAY}")})
    assert answer.failure == ""
    assert all(request["seed"] == 7 and "temperature" not in request for request in server.requests)
    assert {headers["X-Gateway"] for headers in server.headers} == {KEY}


def test_a_key_at_the_end_of_what_is_shown_is_not_shown(monkeypatch):
    """A key that a server repeats is removed before the text is cut."""
    key = "sk-0123456789abcdefghijklmnopqrstuvwxyz"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    for length in (150, 165, 180):
        answer, _, _ = after_probe([(401, {}, b"x" * length + key.encode())])
        assert "401" in answer.failure
        assert not any(key[:count] in answer.failure for count in range(3, len(key)))


def test_a_local_server_is_asked_without_the_proxy(monkeypatch):
    """The environment's proxy is not used for loopback; a proxy that is configured is used, and named in a failure."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert answer_of("logprobs")[2].failure == ""
    _, _, answer = answer_of("logprobs", proxy="http://127.0.0.1:9")
    assert "through the proxy http://127.0.0.1:9" in answer.failure
    reranker = OpenAIReranker(options("http://example.invalid/v1"), PromptOptions(), BUDGET)
    (answer,) = reranker.rerank([request()])
    reranker.close()
    assert "through the proxy http://127.0.0.1:9" in answer.failure


def test_moving_a_server_keeps_its_identity():
    """The URL is no part of it, so stored answers and the measured benefit stay valid."""
    first = OpenAIReranker(options("http://127.0.0.1:1/v1"), PromptOptions(), BUDGET)
    moved = OpenAIReranker(options("http://10.0.0.7:8000/v1"), PromptOptions(), BUDGET)
    assert first.identity == moved.identity
    assert OpenAIReranker(replace(options("http://a/v1"), model_name="other")).identity != first.identity


def test_it_works_inside_a_running_event_loop():
    """Notebooks and servers have their own event loop."""
    import asyncio

    async def inside():
        return answer_of("logprobs")[2]

    assert asyncio.run(inside()).failure == ""


def test_an_invalid_key(monkeypatch):
    """A key with line breaks or umlauts is an error that does not repeat the key."""
    monkeypatch.setenv("OPENAI_API_KEY", "schlüssel\n")
    with ChatServer("logprobs") as url, pytest.raises(RerankerError, match="OPENAI_API_KEY") as caught:
        OpenAIReranker(options(url)).rerank([request()])
    assert "schl" not in str(caught.value)
