"""`classify --server` gives what `classify` gives, waits where the server asks for it, and says what is wrong."""

import contextlib
import json
import socket
import threading

import pytest

pytest.importorskip("fastapi", reason="the extra `server` is not installed")

from lmm_classifier.cli import remote_classifier
from lmm_classifier.cli.remote_classifier import RemoteClassifier
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ServerError
from lmm_classifier.index.build.builder import build_index_from_directory
from tests.helpers.command_line import run
from tests.helpers.datasets import draw_dataset, offline_config
from tests.helpers.gates import GatedEncoder
from tests.helpers.live_server import LiveServer

OFFLINE = ("--config", "offline", "--set", "rerank.enabled=false")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An index, and files to classify: good ones, a broken one, and one with an odd name."""
    root = tmp_path_factory.mktemp("remote")
    draw_dataset(root / "data", count=3)
    draw_dataset(root / "new", count=2, seed=1)
    (root / "new" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (root / "new" / "é\n<b>.png").write_bytes((root / "new" / "stripes" / "00.png").read_bytes())
    build_index_from_directory(root / "data", root / "index", config=offline_config(root / "index"))
    return root


@pytest.fixture
def server(place):
    with LiveServer(offline_config(place / "index", rerank__enabled=False)) as started:
        yield started


@pytest.mark.parametrize(
    "output_format", ["jsonl", *(pytest.param(name, marks=pytest.mark.long) for name in ("csv", "table"))]
)
def test_the_output_is_that_of_classify(place, server, output_format):
    """Every byte, also of files that cannot be read; and the exit code."""
    asked = ["classify", "new", "missing.png", *OFFLINE, "--format", output_format]
    here = run(*asked, "--index", "index", cwd=place, code=3)
    there = run(*asked, "--server", server.url, cwd=place, code=3)
    assert there.stdout == here.stdout
    assert "unreadable" in there.stdout


def test_a_run_can_be_continued(place, server, tmp_path):
    """The results in a file are those of the same run."""
    asked = ["classify", "new", *OFFLINE, "--output", tmp_path / "results.jsonl"]
    run(*asked, "--index", "index", cwd=place, code=3)
    before = (tmp_path / "results.jsonl").read_text()
    done = run(*asked, "--server", server.url, "--resume", cwd=place, code=3)
    assert (tmp_path / "results.jsonl").read_text() == before
    assert "Stored results stay" not in done.stderr


@pytest.mark.parametrize("option", [("--index", "index"), ("--html", "page.html"), ("--leave-out-identical",)])
def test_options_that_need_the_index_are_refused(place, option):
    """They are about an index on this machine."""
    run("classify", "new", "--server", "http://127.0.0.1:1", *option, cwd=place, code=2)


def test_a_server_that_is_not_there(place):
    """One clear line."""
    done = run("classify", "new", "--server", "http://127.0.0.1:1", cwd=place, code=1)
    assert "cannot be reached" in done.stderr
    for url in ("x", "ftp://x", "http://", "http://a:b@c", "http://x:y", "http://x?q=1"):
        with pytest.raises(ServerError, match="Expected the URL"):
            RemoteClassifier(url, PipelineConfig())


def test_a_token(place, monkeypatch):
    """It comes from the environment; without it the message says so."""
    monkeypatch.setenv("LMM_CLASSIFIER_TOKEN", "t" * 32)
    with LiveServer(offline_config(place / "index", rerank__enabled=False)) as server:
        run("classify", "new/stripes", *OFFLINE, "--server", server.url, cwd=place)
        monkeypatch.delenv("LMM_CLASSIFIER_TOKEN")
        done = run("classify", "new/stripes", *OFFLINE, "--server", server.url, cwd=place, code=1)
    assert "LMM_CLASSIFIER_TOKEN" in done.stderr


def test_a_full_queue_is_waited_for(place, tmp_path, monkeypatch):
    """For as long as the header `Retry-After` says, then the image is sent again."""
    waits = []
    encoder = GatedEncoder()

    def pause(_, seconds):
        waits.append(seconds)
        encoder.gate.set()

    monkeypatch.setattr(remote_classifier, "_pause", pause)
    build_index_from_directory(
        place / "data", tmp_path / "index", config=offline_config(tmp_path / "index"), encoder=encoder
    )
    config = offline_config(tmp_path / "index", rerank__enabled=False, server__queue=1)
    with LiveServer(config, encoder) as server:
        encoder.gate.clear()
        files = sorted((place / "new" / "stripes").iterdir()) * 4
        results = list(RemoteClassifier(server.url, config).classify_paths(files))
        encoder.gate.set()
    assert [result.path for result in results] == [str(path) for path in files]
    assert waits
    assert all(wait >= 1 and wait == int(wait) for wait in waits)


class ScriptedServer:
    """Gives prepared answers, one a connection; None closes the connection without one."""

    def __init__(self, *answers):
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.answers, self.asked = list(answers), 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        with contextlib.suppress(OSError):
            while self.answers:
                connection, _ = self._listening.accept()
                with connection:
                    connection.recv(65536)
                    self.asked += 1
                    if (answer := self.answers.pop(0)) is not None:
                        connection.sendall(answer)
            self._listening.close()


def answer(status, values, **headers):
    body = values if isinstance(values, bytes) else json.dumps(values).encode()
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{lines}connection: close\r\n\r\n".encode() + body


GOOD = [answer(200, {"unknown_label": "unknown"}), answer(200, {"run": "a-b"})]


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ([None, None, *GOOD], 4),
        ([answer(503, b"", retry_after=7), *GOOD], 3),
        ([answer(429, {"detail": "full"}, retry_after="soon"), *GOOD], 3),
        ([answer(504, b"<html>"), *GOOD], 3),
    ],
)
def test_passing_faults_are_tried_again(monkeypatch, answers, asked):
    """A lost connection, a server that starts, a gateway that gave up."""
    monkeypatch.setattr(remote_classifier, "_pause", lambda ended, seconds: None)
    server = ScriptedServer(*answers)
    assert RemoteClassifier(server.url, PipelineConfig()).run_identity == "a-b"
    assert server.asked == asked


def test_an_interruption_ends_the_waiting(place, monkeypatch):
    """Nobody waits for the minute that the server asks for."""
    waiting, ended = threading.Event(), []
    pause = remote_classifier._pause

    def paused(event, seconds):
        waiting.set()
        ended.append((seconds, pause(event, seconds)))

    def paths():
        yield place / "new" / "stripes" / "00.png"
        assert waiting.wait(60)
        raise KeyboardInterrupt

    monkeypatch.setattr(remote_classifier, "_pause", paused)
    server = ScriptedServer(*GOOD, answer(429, {"detail": "full"}, retry_after=60), answer(429, {"detail": "full"}))
    with pytest.raises(KeyboardInterrupt):
        list(RemoteClassifier(server.url, PipelineConfig()).classify_paths(paths()))
    assert ended == [(60, True)]


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([None] * 4, "cannot be reached"),
        ([answer(404, {"detail": "Not Found."})], "404: Not Found"),
        ([answer(500, b"\xff\xfe")], "500"),
        ([answer(200, b"[1, 2]")], "something else"),
        ([answer(200, {"hello": "world"})], "something else"),
    ],
)
def test_other_answers_are_clear_errors(monkeypatch, answers, words):
    """Of a server that is another program."""
    monkeypatch.setattr(remote_classifier, "_pause", lambda ended, seconds: None)
    with pytest.raises(ServerError, match=words):
        RemoteClassifier(ScriptedServer(*answers).url, PipelineConfig())
