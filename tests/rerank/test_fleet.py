"""Several servers behind one URL: a router in front of three real ones, one killed, one slow."""

import contextlib
import random
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lmm_classifier.core.datatypes import RerankResult
from lmm_classifier.data.synthetic.shapes import draw_labeled
from lmm_classifier.rerank.cache import CachedReranker
from lmm_classifier.rerank.openai_api import OpenAIReranker
from lmm_classifier.rerank.server_options import ServerOptions
from tests.helpers.fleet import Proxy, router, tiny_server
from tests.helpers.tiny_qwen2_vl import BUDGET, CHECKPOINT, NAMES, ask

pytest.importorskip("httpx2", reason="httpx2 is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

pytestmark = pytest.mark.long  # the servers take ten seconds to start, and one of them is slow on purpose

QUESTIONS = 200
SLOW = 1.0  # seconds that one of the servers waits before each answer
ONE_ORDER = replace(NAMES, orders=1)


def programs_of(kind):
    """Return the folder of a router's program; skip the test where there is none."""
    if found := shutil.which(kind) or shutil.which(kind, path="/usr/sbin"):
        return Path(found).parent
    if kind == "nginx":
        pytest.skip("nginx is not installed")
    from scripts.tool_environment import tool_environment

    try:
        return tool_environment("router")
    except subprocess.CalledProcessError:
        pytest.skip("pip cannot install requirements/router.txt")


def asked(url, requests, **more):
    """Ask a server all questions; return the answers and the reranker."""
    server = ServerOptions(f"{url}/v1", str(CHECKPOINT), deadline=120, **more)
    reranker = OpenAIReranker(server, ONE_ORDER, BUDGET)
    return reranker.rerank(requests), reranker


@pytest.fixture(scope="module")
def requests():
    """As many questions as the note asks for, about drawn shapes."""
    rng = random.Random(0)
    images = draw_labeled(QUESTIONS // 8, seed=77)
    return [ask(label, image, rng) for label, image in images]


@pytest.mark.skipif(sys.platform == "win32", reason="no router runs there")
@pytest.mark.parametrize("kind", ["nginx", "sglang-router", "vllm-router"])
def test_a_killed_server_and_a_slow_one_cost_no_answer(kind, requests, tmp_path):
    """No question fails, none takes longer than its deadline, and the answers are those of one server alone.

    Answers that were stored before the router was there are used with it, since no URL is part of them.
    """
    programs = programs_of(kind)
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(tiny_server(tmp_path / f"server{number}")) for number in range(3)]
        for server in servers:
            server.wait()
        alone, before = asked(servers[0].url, requests)
        proxies = [stack.enter_context(Proxy(server, strict=kind != "nginx")) for server in servers[:2]]
        slow = stack.enter_context(Proxy(servers[2], SLOW, strict=kind != "nginx"))
        urls = [server.url for server in (servers[:2] if kind == "nginx" else proxies)] + [slow.url]
        fleet = stack.enter_context(router(kind, programs, urls, tmp_path / "router")).wait()
        killer = threading.Thread(target=kill_after, args=(servers[0], slow, 3))
        killer.start()
        answers, behind = asked(fleet.url, requests)
        killer.join()
        assert {answer.failure for answer in alone} == {""}
        assert {answer.failure for answer in answers} == {""}
        assert [answer.scores for answer in answers] == [answer.scores for answer in alone]
        assert slow.chats > 3
        (endpoint,) = behind.client.endpoints
        assert endpoint.circuit_breaker.open_reason() is None
        assert behind.identity == before.identity
    assert_cached(before, behind, alone, requests, tmp_path)


def assert_cached(before, behind, answers, requests, folder):
    """Answers of one server serve another URL, and no request goes there: all servers are gone."""
    known = CachedReranker(Replay(before, answers), folder / "answers.sqlite", 1000)
    known.rerank(requests)
    moved = CachedReranker(behind, folder / "answers.sqlite", 1000)
    assert [answer.scores for answer in moved.rerank(requests)] == [answer.scores for answer in answers]
    assert moved.hits == len(requests)


class Replay:
    """A reranker that has its answers already, in the order of the requests."""

    def __init__(self, reranker, answers):
        self.identity, self.references, self.trust = reranker.identity, reranker.references, reranker.trust
        self.served_model = reranker.served_model
        self._answers = answers

    def rerank(self, requests) -> list[RerankResult]:
        return self._answers[: len(requests)]


def kill_after(server, slow, chats):
    """Kill a server when the slow one has had some questions: others are under way then."""
    while slow.chats < chats:
        time.sleep(0.01)
    server.kill()
