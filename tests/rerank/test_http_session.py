"""The background thread of the chat client: it ends with its client, and no exit or fork waits for it."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from lmm_classifier.core.datatypes import Candidate, RerankRequest
from lmm_classifier.rerank.openai_api import OpenAIReranker
from lmm_classifier.rerank.server_options import ServerOptions
from tests.helpers.fault_server import ChatServer, FaultServer
from tests.helpers.paths import ROOT


def open_reranker(url, deadline=20.0):
    return OpenAIReranker(ServerOptions(url, "tiny", deadline=deadline))


def ask(reranker):
    """Ask about one image and return the failure; empty where there is an answer."""
    candidates = tuple(Candidate(label, 0.5, ()) for label in "ab")
    (answer,) = reranker.rerank([RerankRequest(Image.new("RGB", (56, 56)), candidates)])
    return answer.failure


def test_a_closed_client_can_be_used_again():
    """Closing twice is allowed, and the next request opens new connections."""
    with ChatServer("logprobs") as url:
        reranker = open_reranker(url)
        assert ask(reranker) == ""
        reranker.close()
        reranker.close()
        assert ask(reranker) == ""
        reranker.close()


@pytest.mark.long
def test_dropped_clients_leave_no_threads():
    """The thread also ends where the client is dropped without closing it, even in its own loop."""
    with ChatServer("logprobs") as url:
        before = threading.active_count()
        for _ in range(5):
            assert ask(open_reranker(url)) == ""
        reranker = open_reranker(url)
        assert ask(reranker) == ""
        reranker.client.run(in_loop, reranker.client)
        deadline = time.monotonic() + 5
        while threading.active_count() > before and time.monotonic() < deadline:
            time.sleep(0.02)
        assert threading.active_count() <= before


async def in_loop(client):
    client.close()


def test_closing_ends_the_requests_under_way(caplog):
    """A thread that waits for a silent server gets a failure or an error at once; the loop has nothing to report."""
    with FaultServer("silent") as url, ThreadPoolExecutor() as threads:
        reranker = open_reranker(url)
        waiting = threads.submit(ask, reranker)
        time.sleep(0.3)
        reranker.close()
        assert waiting.exception(timeout=3) or waiting.result()
    assert not [record.getMessage() for record in caplog.records if record.name == "asyncio"]


SCRIPT = """
import os, sys, threading, time
from tests.helpers.fault_server import ChatServer, FaultServer
from tests.rerank.test_http_session import ask, open_reranker

server = FaultServer("silent") if sys.argv[1] == "pending" else ChatServer("logprobs")
reranker = open_reranker(server.__enter__())
"""


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
CASES = [
    pytest.param("idle", "assert ask(reranker) == ''", id="idle", marks=pytest.mark.long),
    pytest.param(
        "pending", "threading.Thread(target=lambda: ask(reranker), daemon=True).start(); time.sleep(0.3)", id="pending"
    ),
    pytest.param(
        "idle",
        "assert ask(reranker) == ''\nchild = os.fork()\nassert ask(reranker) == ''\n"
        "if child: assert os.waitpid(child, 0)[1] == 0",
        marks=needs_fork,
        id="forked",
    ),
    pytest.param(
        "idle",
        "assert ask(reranker) == ''\nif child := os.fork(): assert os.waitpid(child, 0)[1] == 0",
        marks=[needs_fork, pytest.mark.long],
        id="forked and unused",
    ),
]


CALLERS = """
import asyncio, sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from tests.helpers.fault_server import ChatServer
from tests.rerank.test_http_session import ask, open_reranker

def spawned(url):
    reranker = open_reranker(url)
    sys.exit(1 if ask(reranker) else 0)

def forked():
    sys.exit(1 if ask(reranker) else 0)

async def inside():
    return [ask(reranker) for _ in range(3)]

async def with_threads():
    return await asyncio.gather(*[asyncio.to_thread(ask, reranker) for _ in range(6)])

if __name__ == "__main__":
    with ChatServer("logprobs") as url:
        reranker = open_reranker(url)
        assert ask(reranker) == ""
        way = sys.argv[1]
        if way in ("spawn", "fork"):
            context = get_context(way)
            process = context.Process(target=spawned, args=(url,)) if way == "spawn" else context.Process(target=forked)
            process.start()
            process.join(40)
            assert process.exitcode == 0, process.exitcode
        elif way == "threads":
            with ThreadPoolExecutor(8) as pool:
                assert set(pool.map(lambda _: ask(reranker), range(24))) == {""}
        else:
            assert set(asyncio.run(inside() if way == "asyncio" else with_threads())) == {""}
        assert ask(reranker) == ""
        reranker.close()
"""


@pytest.mark.long
@pytest.mark.parametrize(
    "way", ["spawn", pytest.param("fork", marks=needs_fork), "threads", "asyncio", "asyncio with threads"]
)
def test_callers_of_every_kind(way, tmp_path):
    """Spawned and forked processes, threads and event loops get answers, and so does the first caller afterwards."""
    script = tmp_path / "callers.py"
    script.write_text(CALLERS)
    command, env = [sys.executable, str(script), way], {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@needs_fork
@pytest.mark.parametrize("case", [pytest.param("silent", marks=pytest.mark.long), "refused"])
def test_a_forked_process_fails_by_the_deadline(case):
    """Where the server does not answer, the child gets a failure in time."""
    code = (
        "reranker.rerank  # opened in the parent\n"
        "threading.Thread(target=lambda: ask(reranker), daemon=True).start(); time.sleep(0.3)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    import signal; signal.alarm(10)\n"
        "    os._exit(0 if ask(reranker) else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0"
    )
    chosen = 'FaultServer("silent") if sys.argv[1] == "pending" else ChatServer("logprobs")'
    script = SCRIPT.replace(chosen, f"FaultServer({case!r})")
    script = script.replace("open_reranker(server.__enter__())", "open_reranker(server.__enter__(), 1.0)")
    command = [sys.executable, "-W", "ignore", "-c", script + code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def run_script(code, case, warnings):
    command = [sys.executable, "-W", warnings, "-c", SCRIPT + code, case]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.long
@pytest.mark.parametrize(("case", "code"), CASES)
def test_exit_without_closing(case, code):
    """The interpreter exits without waiting, also while a request waits, and in a forked process."""
    done = run_script(code, case, "ignore")
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_exit_without_closing_leaks_nothing():
    """No resource warning appears when the interpreter exits."""
    done = run_script("assert ask(reranker) == ''\nserver.__exit__()", "idle", "error")
    assert (done.returncode, done.stderr) == (0, "")
