"""`transformers serve`, a real server on loopback, with the tiny checkpoint."""

import os
import random
import socket
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.data.synthetic.shapes import draw_labeled
from lmm_classifier.rerank.openai_api import OpenAIReranker
from lmm_classifier.rerank.server_options import ServerOptions
from tests.helpers.paths import ROOT
from tests.helpers.tiny_qwen2_vl import BUDGET, CHECKPOINT, NAMES, ask, chosen
from tests.rerank.test_vlm import with_arbitrary_names, with_references

httpx2 = pytest.importorskip("httpx2", reason="httpx2 is not installed")

pytestmark = pytest.mark.long  # the server takes ten seconds to start


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """`transformers serve` on loopback, with the tiny checkpoint."""
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
    """`transformers serve` ignores log-probabilities and schemas; this is detected, and its answers are right."""
    server = ServerOptions(served, str(CHECKPOINT), deadline=60)
    reranker = OpenAIReranker(server, NAMES, BUDGET)
    rng = random.Random(0)
    images = draw_labeled(4, seed=4321)
    requests = [ask(label, image, rng) for label, image in images]
    answers = reranker.rerank(requests)
    assert reranker.abilities.format == "token"
    assert [answer.failure for answer in answers] == [""] * len(images)
    right = [chosen(q, answer) == label for q, answer, (label, _) in zip(requests, answers, images)]
    assert np.mean(right) >= 0.9


def test_a_real_server_with_reference_images(served):
    """A request may hold several images, and the answer depends on all of them."""
    images = draw_labeled(4, seed=4321)
    rng = random.Random(0)
    requests = [with_references(ask(label, image, rng), images) for label, image in images[:16]]
    right = [[c.label for c in q.candidates].index(label) for q, (label, _) in zip(requests, images)]
    requests = [with_arbitrary_names(request) for request in requests]
    prompt_options = replace(NAMES, mode="references")
    reranker = OpenAIReranker(ServerOptions(served, str(CHECKPOINT), deadline=60), prompt_options, BUDGET)
    answers = reranker.rerank(requests)
    assert [answer.failure for answer in answers] == [""] * 16
    assert np.mean([position == np.argmax(answer.scores) for position, answer in zip(right, answers)]) >= 0.85


def test_a_real_server_of_another_model(served):
    """A model that the server does not have is a failure with the URL of the server."""
    reranker = OpenAIReranker(ServerOptions(served, "no/such-model", deadline=20, retries=0), NAMES, BUDGET)
    (answer,) = reranker.rerank([ask(*draw_labeled(1, seed=1)[0], random.Random(0))])
    assert served in answer.failure
