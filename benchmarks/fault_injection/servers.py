"""Faulty servers, limited rates and forked callers: every image gets its answer or its reason in time."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from PIL import Image

from benchmarks.fault_injection.outcome import Outcome
from lmm_classifier.core.datatypes import Candidate, RerankRequest
from lmm_classifier.rerank.image_budget import VisualTokenBudget
from lmm_classifier.rerank.openai_api import OpenAIReranker
from lmm_classifier.rerank.prompts import PromptOptions
from lmm_classifier.rerank.server_options import ServerOptions
from tests.helpers.fault_server import FAULTS, ChatServer, FaultServer

DEADLINE = 0.3  # seconds for one image of a faulty server
HANG = 60.0  # seconds for 200 images; one deadline after the other is the limit
CHILD_SECONDS = 10


def servers(images: int) -> Outcome:
    """Ask every faulty server about images; each must be flagged with a reason, and none may be late."""
    outcome = Outcome("faulty servers")
    for fault in FAULTS:
        with FaultServer(fault) as url:
            reranker = _reranker(url, deadline=DEADLINE, retries=1)
            started = time.monotonic()
            answers = reranker.rerank(_requests(images))
            seconds = time.monotonic() - started
            reranker.close()
        for answer in answers:
            outcome.add(None if answer.failure and not answer.scores else f"{fault}: an image was not flagged")
        if seconds > HANG or len(answers) != images:
            outcome.lost += 1
            outcome.notes.append(f"{fault}: {len(answers)} answers in {seconds:.0f} s")
    outcome.notes.append(f"{len(FAULTS)} kinds of faults")
    return outcome


def rate_limits(images: int) -> Outcome:
    """Ask servers that accept 6 requests per second, at the default deadline; every image must be answered."""
    outcome = Outcome("rate limits")
    for header in (None, 1, 0):
        with ChatServer("logprobs", per_second=6, retry_after=header) as url:
            reranker = _reranker(url)
            started = time.monotonic()
            for answer in reranker.rerank(_requests(images)):
                outcome.add(answer.failure or None)
            reranker.close()
        asked = "no header" if header is None else f"Retry-After: {header}"
        outcome.notes.append(f"{asked}: {time.monotonic() - started:.0f} s")
    return outcome


def forks(count: int) -> Outcome:
    """Fork while threads ask a server; each child must get an answer in time, and disturb none of its parent."""
    outcome = Outcome("forked callers")
    if not hasattr(os, "fork"):
        outcome.skipped = "this system has no fork"
        return outcome
    with ChatServer("logprobs") as url:
        reranker = _reranker(url, deadline=5.0)
        failures, stop = list[str](), threading.Event()

        def ask() -> None:
            while not stop.is_set():
                failures.extend(answer.failure for answer in reranker.rerank(_requests(4)) if answer.failure)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(count):
            sys.stdout.flush()
            if not (child := os.fork()):
                signal.alarm(CHILD_SECONDS)
                os._exit(0 if not reranker.rerank(_requests(1))[0].failure else 1)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            outcome.add(None if code == 0 else f"the child ended with {code}")
        stop.set()
        for thread in threads:
            thread.join()
        reranker.close()
    for failure in failures:
        outcome.add(f"the parent: {failure}")
    return outcome


def _reranker(url: str, **options: float) -> OpenAIReranker:
    server = ServerOptions(url, "tiny", **options)  # type: ignore[arg-type]
    return OpenAIReranker(server, PromptOptions(), VisualTokenBudget(4, 16, 64))


def _requests(count: int) -> list[RerankRequest]:
    candidates = tuple(Candidate(label, 1 / 3, ()) for label in ("dots", "checker", "zigzag"))
    return [RerankRequest(Image.new("RGB", (56, 56), (number % 256, 0, 0)), candidates) for number in range(count)]
