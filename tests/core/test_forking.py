"""What cannot survive a fork is reset in the child and left alone for the parent."""

import os
import subprocess
import sys
import threading

import pytest

from lmm_classifier.core.forking import ForkSafeLock
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def run(code, *arguments):
    """Run code in a process of its own, where forking does not copy the threads of the tests."""
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_lock_is_free_in_a_forked_process():
    """A lock that another thread or the forking thread holds at the fork can be taken in the child."""
    run(
        "import os, signal, threading\n"
        "from lmm_classifier.core.forking import ForkSafeLock\n"
        "other, own, taken = ForkSafeLock(), ForkSafeLock(threading.RLock), threading.Event()\n"
        "def hold():\n"
        "    with other: taken.set(); threading.Event().wait()\n"
        "threading.Thread(target=hold, daemon=True).start(); taken.wait()\n"
        "with own:\n"
        "    child = os.fork()\n"
        "    if not child: signal.alarm(10)\n"
        "    with own: pass\n"
        "if not child:\n"
        "    with other, own: os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0"
    )


def test_a_lock_excludes():
    """Without a fork it is a lock like any other."""
    lock, entered = ForkSafeLock(), threading.Event()

    def enter():
        with lock:
            entered.set()

    with lock:
        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.05)
    assert entered.wait(5)
    thread.join()


CLASSIFY = """
import os, signal, sys, tempfile, threading
from multiprocessing import get_context
from pathlib import Path
from lmm_classifier.data.synthetic.shapes import draw_labeled
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.classifier import HybridClassifier
from tests.helpers.datasets import offline_config
from tests.helpers.fault_server import ChatServer

def results():
    return [(r.label, r.score, r.decision.reason, r.error) for r in classifier.classify_paths(files)]

def in_child():
    signal.alarm(60)
    same = results() == expected
    # a new image is neither cached nor answered by what the parent holds
    new = classifier.classify_many([image for _, image in draw_labeled(1, seed=9)])
    return same and not any(result.error for result in new)

def child_process():
    sys.exit(0 if in_child() else 3)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name, ChatServer("logprobs") as url:
        root = Path(name)
        for number, (label, image) in enumerate(draw_labeled(2, seed=1)):
            (root / "d" / label).mkdir(parents=True, exist_ok=True)
            image.save(root / "d" / label / f"{number}.tiff")  # decoded in processes of their own
        config = offline_config(root / "index", allow_unknown="false")
        build_index_from_directory(root / "d", root / "index", config=config)
        config.retrieval.confidence_threshold = 1.0
        if sys.argv[1] == "server":
            config.rerank.backend, config.rerank.server.base_url = "openai_api", url
        classifier = HybridClassifier(config)
        files = sorted((root / "d").rglob("*.tiff"))
        expected = results()
        assert {reason for _, _, reason, _ in expected} == {"reranked"}
        way = sys.argv[2]
        stop, threads = threading.Event(), []
        if way == "while others ask":
            def ask():
                while not stop.is_set():
                    results()
            threads = [threading.Thread(target=ask) for _ in range(2)]
            for thread in threads: thread.start()
        for _ in range(3 if way == "while others ask" else 1):
            if way == "multiprocessing":
                process = get_context("fork").Process(target=child_process)
                process.start(); process.join(80)
                assert process.exitcode == 0, process.exitcode
            else:
                child = os.fork()
                if not child:
                    os._exit(0 if in_child() else 3)
                assert os.waitpid(child, 0)[1] == 0
        stop.set()
        for thread in threads: thread.join()
        assert results() == expected  # the child disturbed nothing
"""


@pytest.mark.long
@pytest.mark.parametrize("backend", ["views", "server"])
@pytest.mark.parametrize("way", ["fork", "multiprocessing", "while others ask"])
def test_a_forked_process_classifies(backend, way):
    """After the parent classified with worker processes, a database, threads and a server, a child does so too."""
    run(CLASSIFY, backend, way)


TORCH = """
import os, signal, torch
torch.set_num_threads(2)
from lmm_classifier.core import forking
numbers = torch.randn(700, 700)
(numbers @ numbers).relu().sum()
child = os.fork()
if not child:
    signal.alarm(20)
    (numbers @ numbers).relu().sum(); torch.exp(numbers).sum()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.long
def test_torch_computes_in_a_forked_process():
    """Its threads stay in the parent; the child computes with one."""
    pytest.importorskip("torch")
    run(TORCH)
