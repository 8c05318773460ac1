"""A model behind a server: its answer format is detected, and every failure comes in time with its reason."""

import logging
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Candidate, RerankRequest
from lmm_classifier.core.errors import ConfigError, RerankerError
from lmm_classifier.rerank.image_budget import VisualTokenBudget
from lmm_classifier.rerank.openai_api import OpenAIReranker, ServerOptions
from lmm_classifier.rerank.prompts import PromptOptions
from tests.helpers.fault_server import ChatServer, FaultServer
from tests.helpers.tiny_qwen2_vl import BUDGET

KEY = "hush-hush"


def options(url, **changes):
    return replace(ServerOptions(url, "tiny", deadline=3.0), **changes)


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
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (900, 900, 3), np.uint8))
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


BUSY = (429, {"Retry-After": "0"}, b"{}")
LOADING = (503, {}, b"{}")


def after_probe(fail, **changes):
    """The answer of a server that fails like this after a successful probe, and the number of its requests."""
    server = ChatServer("logprobs")
    with server as url:
        reranker = OpenAIReranker(options(url, **changes), replace(PromptOptions(), orders=1), BUDGET)
        assert reranker.rerank([request()])[0].failure == ""
        before = len(server.requests)
        server.fail[:] = fail
        (answer,) = reranker.rerank([request()])
        return answer, len(server.requests) - before


def test_retries():
    """429 and 503 are retried as often as allowed, 500 and 400 never."""
    assert after_probe([LOADING, BUSY])[0].failure == ""
    answer, calls = after_probe([LOADING] * 9, retries=2)
    assert "503" in answer.failure
    assert calls == 3
    for status in (500, 400, 401):
        answer, calls = after_probe([(status, {}, b"no")])
        assert str(status) in answer.failure
        assert calls == 1


def test_retry_after_is_honored():
    """A short wait is respected; a wait beyond the deadline fails this request and the next ones at once."""
    started = time.monotonic()
    assert after_probe([(429, {"Retry-After": "1"}, b"{}")])[0].failure == ""
    assert time.monotonic() - started >= 1
    server = ChatServer("logprobs")
    with server as url:
        reranker = OpenAIReranker(options(url), PromptOptions(), BUDGET)
        reranker.rerank([request()])
        server.fail[:] = [(429, {"Retry-After": "3600"}, b"{}")] * 2
        before = len(server.requests)
        answers = [reranker.rerank([request()])[0] for _ in range(5)]
        assert len(server.requests) - before <= 2
    assert all("429" in answer.failure for answer in answers)
    assert "is not asked for another" in answers[-1].failure


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
