"""A model behind a server: what it can do is found out, and however it fails, the answer comes in time and says so."""

import logging
import os
import random
import subprocess
import sys
import time
from dataclasses import replace

import httpx2
import numpy as np
import pytest
from PIL import Image

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Candidate, Question
from lmm_classifier.core.errors import ConfigError, RerankerError
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.rerank.image_budget import PictureBudget
from lmm_classifier.rerank.openai_api import OpenAIReranker, ServerOptions
from lmm_classifier.rerank.prompts import Asking
from tests.helpers.corpora import offline_config
from tests.helpers.fault_server import FAULTS, ChatServer, FaultServer
from tests.helpers.paths import ROOT
from tests.helpers.shapes import labelled
from tests.rerank.test_qwen2_vl import BUDGET, CHECKPOINT, NAMELESS, NAMES, ask, chosen, with_references

KEY = "hush-hush"


def options(url, **changes):
    return replace(ServerOptions(url, "tiny", deadline=3.0), **changes)


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def question(labels=("dots", "checker", "zigzag")):
    return Question(Image.new("RGB", (90, 60), (9, 80, 200)), tuple(Candidate(one, 1 / 3, ()) for one in labels))


def answer_of(*abilities, **changes):
    server = ChatServer(*abilities)
    with server as url:
        reranker = OpenAIReranker(options(url, **changes), Asking(), PictureBudget(4, 16, 64))
        (answer,) = reranker.rerank([question()])
        reranker.close()
    return server, reranker, answer


@pytest.mark.parametrize("strict", [(), ("strict",)])
@pytest.mark.parametrize(
    ("abilities", "way"),
    [(["logprobs"], "logprobs"), (["choice"], "choice"), (["json"], "json"), ([], "token"), (["sentence"], "text")],
)
def test_it_finds_the_best_way_that_really_works(abilities, way, strict):
    """Whether a server refuses what it cannot do or ignores it in silence, the next best way is found and used."""
    server, reranker, answer = answer_of(*abilities, *strict)
    assert answer.failure == ""
    assert reranker.abilities.way == way
    # it always says A, which is another label in the other order: checker first, then zigzag
    assert answer.disagreement > 0.2
    assert answer.scores[0] < max(answer.scores)
    assert all(request["temperature"] == 0 and request["model"] == "tiny" for request in server.requests)


def test_log_probabilities_of_just_the_letters():
    """Where the server tells its tokens, exactly the letters are asked for, and all of them come."""
    server, reranker, answer = answer_of("logprobs", "tokenize")
    assert reranker.abilities.letter_tokens[:3] == (65, 66, 67)
    assert server.requests[-1]["logprob_token_ids"] == [65, 66, 67]
    assert answer.label_mass == pytest.approx(np.exp(-0.2) + 2 * np.exp(-3.0))
    # the letter A counts for checker in one order and for zigzag in the other
    assert answer.scores == pytest.approx([0.02, 0.49, 0.49], abs=0.1)


def test_pictures_are_our_own_upright_ones():
    """Each picture goes as a data: URL of whole visual tokens, large ones as JPEG."""
    server, _, _ = answer_of("logprobs")
    urls = [part["image_url"]["url"] for part in server.requests[-1]["messages"][0]["content"] if "image_url" in part]
    assert len(urls) == 1
    assert urls[0].startswith("data:image/png;base64,")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (900, 900, 3), np.uint8))
    with (server := ChatServer("logprobs")) as url:
        reranker = OpenAIReranker(options(url), Asking(), PictureBudget())
        reranker.rerank([replace(question(), image=noise)])
    assert "data:image/jpeg;base64," in str(server.requests[-1])


@pytest.mark.parametrize(
    ("abilities", "reason"),
    [(["logprobs", "blind"], "tokens with a picture"), (["blind", "uncounted"], "does not say how many tokens")],
)
def test_a_server_that_drops_pictures_is_found_out(abilities, reason):
    """A server whose model sees nothing is not asked: every answer fails with the reason, and no call is wasted."""
    server = ChatServer(*abilities)
    with server as url:
        reranker = OpenAIReranker(options(url), Asking(), BUDGET)
        answers = reranker.rerank([question()] * 20)
    assert all(answer.failure for answer in answers)
    assert "does not show pictures" in answers[0].failure
    assert reason in answers[0].failure
    assert len(server.requests) <= 10


def test_a_weak_model_is_warned_of(caplog):
    """A model that counts pictures but takes a circle for a triangle is used, with a warning."""
    _, _, answer = answer_of("logprobs", "deaf")
    assert answer.failure == ""
    assert "took a circle and a triangle for one another" in caplog.text


def test_in_pairs_and_by_references():
    """Examples travel along, and yes or no is understood."""
    shown = replace(question(), references=((Image.new("RGB", (60, 60)),),) * 3)
    for mode, pictures in (("references", 4), ("pairwise", 2)):
        with (server := ChatServer()) as url:
            (answer,) = OpenAIReranker(options(url), Asking(mode), PictureBudget(4, 16, 64)).rerank([shown])
        assert answer.failure == ""
        assert str(server.requests[-1]).count("data:image") == pictures


def test_a_key_comes_from_the_environment_and_goes_nowhere_else(monkeypatch, caplog):
    """It is sent as a bearer token; no failure, log line or repr repeats it, not even where the server does."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server, reranker, _ = answer_of("logprobs")
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    with FaultServer("401") as url:
        failing = OpenAIReranker(options(url))
        (answer,) = failing.rerank([question()])
    assert "401" in answer.failure
    for text in (answer.failure, caplog.text, repr(reranker.options), repr(failing.client), failing.identity):
        assert KEY not in text
    monkeypatch.delenv("OPENAI_API_KEY")
    server, _, _ = answer_of("logprobs")
    assert not any("Authorization" in headers for headers in server.headers)


def test_a_url_with_a_password_is_refused():
    """Keys and passwords do not belong in a configuration."""
    for url in ("http://me:secret@127.0.0.1/v1", "http://127.0.0.1/v1?key=secret", "ftp://127.0.0.1/", "127.0.0.1:80"):
        with pytest.raises(ConfigError, match="base_url") as caught:
            PipelineConfig(rerank={"base_url": url})
        assert "secret" not in str(caught.value).partition("got")[0]


BUSY = (429, {"Retry-After": "0"}, b"{}")
LOADING = (503, {}, b"{}")


def after_probe(fail, **changes):
    """The answer of a server that was probed in health and then fails as told, and how many requests it took."""
    server = ChatServer("logprobs")
    with server as url:
        reranker = OpenAIReranker(options(url, **changes), replace(Asking(), orders=1), BUDGET)
        assert reranker.rerank([question()])[0].failure == ""
        before = len(server.requests)
        server.fail[:] = fail
        (answer,) = reranker.rerank([question()])
        return answer, len(server.requests) - before


def test_what_may_be_tried_again_is():
    """429 and 503 are tried again as often as allowed, 500 and 400 never."""
    assert after_probe([LOADING, BUSY])[0].failure == ""
    answer, calls = after_probe([LOADING] * 9, retries=2)
    assert "503" in answer.failure
    assert calls == 3
    for status in (500, 400, 401):
        answer, calls = after_probe([(status, {}, b"no")])
        assert str(status) in answer.failure
        assert calls == 1


def test_retry_after_is_honoured():
    """Told to wait it waits; told to wait beyond the deadline it gives up at once, and so does the next question."""
    started = time.monotonic()
    assert after_probe([(429, {"Retry-After": "1"}, b"{}")])[0].failure == ""
    assert time.monotonic() - started >= 1
    server = ChatServer("logprobs")
    with server as url:
        reranker = OpenAIReranker(options(url), Asking(), BUDGET)
        reranker.rerank([question()])
        server.fail[:] = [(429, {"Retry-After": "3600"}, b"{}")] * 2
        before = len(server.requests)
        answers = [reranker.rerank([question()])[0] for _ in range(5)]
        assert len(server.requests) - before <= 2
    assert all("429" in answer.failure for answer in answers)
    assert "left alone for" in answers[-1].failure


def test_it_works_inside_a_running_event_loop():
    """Notebooks and servers have a loop of their own."""
    import asyncio

    async def inside():
        return answer_of("logprobs")[2]

    assert asyncio.run(inside()).failure == ""


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory):
    """A classifier that asks about every picture, and 200 pictures, with retrieval's own answers."""
    root = tmp_path_factory.mktemp("faults")
    for number, (label, image) in enumerate(labelled(3, seed=1)):
        (root / "corpus" / label).mkdir(parents=True, exist_ok=True)
        image.save(root / "corpus" / label / f"{number:02}.png")
    config = offline_config(root / "index.npz", allow_unknown="false")
    build_index_from_directory(root / "corpus", root / "index.npz", config=config)
    config.retrieval.confidence_threshold = 1.0
    pictures = [image for _, image in labelled(25, seed=6)]
    config.rerank.enabled = False
    alone = HybridClassifier(config)
    config.rerank.enabled, config.rerank.backend, config.rerank.cache = True, "openai_api", "off"
    config.rerank.min_visual_tokens = config.rerank.max_visual_tokens = 4
    return config, alone.encoder, pictures, [one.label for one in alone.classify_many(pictures)]


@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_hurts(doubtful, fault, monkeypatch, caplog):
    """200 pictures, one fault: none is lost, none hangs, each has retrieval's answer and says why."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    config, encoder, pictures, expected = doubtful
    server = FaultServer(fault)
    with server as url:
        mine = config.model_copy(deep=True)
        mine.rerank.base_url, mine.rerank.deadline, mine.rerank.retries = url, 0.3, 1
        classifier = HybridClassifier(mine, encoder)
        started = time.monotonic()
        results = classifier.classify_many(pictures)
        seconds = time.monotonic() - started
        classifier.reranker.close()
    assert [result.label for result in results] == expected
    failed = [result for result in results if result.decision.reason == "reranker_failed"]
    assert len(failed) == sum(result.decision.reason != "confident" for result in results) >= 190
    assert all(result.error and not result.used_reranker and KEY not in result.error for result in failed)
    assert KEY not in caplog.text
    assert server.connections < 40  # the breaker opened
    assert seconds < 20  # 200 deadlines one after the other would be 60


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """`transformers serve` on loopback, with the tiny checkpoint."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    command = [sys.executable, "-m", "tests.helpers.serve_tiny", "serve", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    with log.open("w") as out:
        process = subprocess.Popen([*command, "--device", "cpu"], stdout=out, stderr=out, cwd=ROOT, env=environment)
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise AssertionError(f"the server ended: {log.read_text()[-2000:]}")
            try:
                if httpx2.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                    break
            except httpx2.TransportError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(10)


def test_a_real_server(served):
    """`transformers serve` ignores log-probabilities and schemas in silence; that is found out, and it is right."""
    server = ServerOptions(served, str(CHECKPOINT), deadline=60)
    reranker = OpenAIReranker(server, NAMES, BUDGET)
    rng = random.Random(0)
    pictures = labelled(4, seed=4321)
    questions = [ask(label, image, rng) for label, image in pictures]
    answers = reranker.rerank(questions)
    assert reranker.abilities.way == "token"
    assert [answer.failure for answer in answers] == [""] * len(pictures)
    right = [chosen(q, answer) == label for q, answer, (label, _) in zip(questions, answers, pictures)]
    assert np.mean(right) >= 0.9


def test_a_real_server_with_reference_pictures(served):
    """Several pictures travel in one request and are all looked at."""
    pictures = labelled(4, seed=4321)
    rng = random.Random(0)
    questions = [with_references(ask(label, image, rng), pictures) for label, image in pictures[:16]]
    right = [[c.label for c in q.candidates].index(label) for q, (label, _) in zip(questions, pictures)]
    questions = [replace(q, candidates=tuple(replace(c, label=n) for c, n in zip(q.candidates, NAMELESS)))
                 for q in questions]  # fmt: skip
    asking = replace(NAMES, mode="references")
    reranker = OpenAIReranker(ServerOptions(served, str(CHECKPOINT), deadline=60), asking, BUDGET)
    answers = reranker.rerank(questions)
    assert [answer.failure for answer in answers] == [""] * 16
    assert np.mean([place == np.argmax(answer.scores) for place, answer in zip(right, answers)]) >= 0.85


def test_a_real_server_of_another_model(served):
    """A model that the server does not have fails visibly."""
    reranker = OpenAIReranker(ServerOptions(served, "no/such-model", deadline=20, retries=0), NAMES, BUDGET)
    (answer,) = reranker.rerank([question()])
    assert served in answer.failure


def test_a_key_that_is_none(monkeypatch):
    """A variable with line breaks or umlauts is told without repeating it."""
    monkeypatch.setenv("OPENAI_API_KEY", "schlüssel\n")
    with ChatServer("logprobs") as url, pytest.raises(RerankerError, match="OPENAI_API_KEY") as caught:
        OpenAIReranker(options(url)).rerank([question()])
    assert "schl" not in str(caught.value)
