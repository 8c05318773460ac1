"""Whatever a server does wrong, no image is lost or late: each result says what happened."""

import time
from functools import cache

import pytest

from lmm_classifier.data.synthetic.shapes import draw_labeled
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.classifier import HybridClassifier
from tests.helpers.command_line import OFFLINE, run_process
from tests.helpers.datasets import draw_dataset, offline_config
from tests.helpers.fault_server import FAULTS, ChatServer, FaultServer

KEY = "hush-hush"
# one of each kind: no connection, no answer, a slow one, a broken one, nonsense, and two errors by name
QUICK = ("silent", "reset", "503")


@pytest.fixture(scope="module")
def always_asking(tmp_path_factory):
    """A configuration that asks about every image, an encoder, 200 images, and retrieval's answers to some."""
    root = tmp_path_factory.mktemp("faults")
    for number, (label, image) in enumerate(draw_labeled(3, seed=1)):
        (root / "dataset" / label).mkdir(parents=True, exist_ok=True)
        image.save(root / "dataset" / label / f"{number:02}.png")
    config = offline_config(root / "index.npz", allow_unknown="false")
    build_index_from_directory(root / "dataset", root / "index.npz", config=config)
    config.retrieval.confidence_threshold = 1.0
    images = [image for _, image in draw_labeled(25, seed=6)]
    config.rerank.enabled = False
    alone = HybridClassifier(config)
    config.rerank.enabled, config.rerank.backend, config.rerank.cache = True, "openai_api", "off"
    config.rerank.prompt.min_visual_tokens = config.rerank.prompt.max_visual_tokens = 4
    answers = cache(lambda step: [result.label for result in alone.classify_many(images[::step])])
    return config, alone.encoders, images, answers


@pytest.mark.parametrize(
    ("fault", "count"),
    [*((fault, 40) for fault in QUICK), *(pytest.param(f, 200, marks=pytest.mark.long) for f in FAULTS)],
)
def test_no_fault_loses_or_delays_an_image(always_asking, fault, count, monkeypatch, caplog):
    """With many images and one fault, each result comes in time with retrieval's answer and the reason."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    config, encoder, images, answers = always_asking
    step = len(images) // count
    images, expected = images[::step], answers(step)  # of each label
    server = FaultServer(fault)
    with server as url:
        faulty = config.model_copy(deep=True)
        server_config = faulty.rerank.server
        server_config.base_url, server_config.deadline, server_config.retries = url, 0.3, 1
        classifier = HybridClassifier(faulty, encoder)
        started = time.monotonic()
        results = classifier.classify_many(images)
        seconds = time.monotonic() - started
        classifier.reranker.close()
    assert [result.label for result in results] == expected
    failed = [result for result in results if result.decision.reason == "reranker_failed"]
    assert len(failed) == sum(result.decision.reason != "confident" for result in results) >= 0.95 * count
    assert all(result.error and not result.used_reranker and KEY not in result.error for result in failed)
    assert KEY not in caplog.text
    assert server.connections < 40  # the circuit breaker opened
    assert seconds < 0.25 * count  # the deadlines one after the other would be 0.3 for each image


@pytest.mark.long
@pytest.mark.parametrize(
    "options", [[], ["--debug"], ["--set", "logging.json_lines=true", "--set", "logging.level=DEBUG"]]
)
def test_no_output_of_the_program_holds_a_key(tmp_path, monkeypatch, options):
    """A server repeats all that it was sent; nothing of it is in results, logs, JSON logs or tracebacks."""
    key, header, password = "sk-0123456789abcdefghijklmnop", "gateway-secret-9876543210", "proxy-password"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    monkeypatch.setenv("GATEWAY_KEY", header)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{password}@127.0.0.1:9/")
    dataset = draw_dataset(tmp_path / "dataset", count=4)
    offline = ["--config", OFFLINE]
    run_process("build", dataset, "--output", tmp_path / "index", *offline)
    echo = "x" * 150 + f" {key} {header} Authorization: Bearer {key} https://h/?key={key}"
    server = EchoServer(echo)
    with server as url:
        for target in (url, "https://model.example.com/v1"):
            settings = {
                "rerank.backend": "openai_api",
                "rerank.server.base_url": target,
                "rerank.server.deadline": "2.0",
                "rerank.server.extra_headers": "{X-Gateway: '${GATEWAY_KEY}'}",
                "retrieval.confidence_threshold": "1.0",
                "retrieval.index_path": tmp_path / "index",
                "allow_unknown": "false",
            }
            flags = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
            done = run_process("classify", dataset / "stripes", "--format", "jsonl", *offline, *flags, *options)
            shown = done.stdout + done.stderr
            assert "reranker_failed" in shown
            for secret in (key, header, password):
                assert not any(secret[start : start + 8] in shown for start in range(len(secret) - 7))


class EchoServer(ChatServer):
    """Refuses every request with a text."""

    def __init__(self, text):
        super().__init__()
        self.text = text

    def answer(self, path, payload):
        return 401, {}, self.text.encode()
