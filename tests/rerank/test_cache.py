"""The cache of answers: no question is asked twice, by one process or two, and a broken file does no harm."""

import logging
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest
from PIL import Image

from lmm_classifier.core.datatypes import Candidate, RerankRequest, RerankResult
from lmm_classifier.rerank.cache import CachedReranker
from tests.helpers.paths import ROOT


class Model:
    """A reranker that prefers labels late in the alphabet and counts its calls."""

    trust, references = (1.0, 1.0), 1

    def __init__(self, identity="model@1", failing=()):
        self.identity, self.failing, self.asked = identity, failing, []

    def rerank(self, requests):
        self.asked += requests
        return [self.answer(request) for request in requests]

    def answer(self, request):
        if any(candidate.label in self.failing for candidate in request.candidates):
            return RerankResult((), 0.0, "down")
        labels = [candidate.label for candidate in request.candidates]
        ranks = [1 + sorted(labels).index(label) for label in labels]
        return RerankResult(tuple(rank / sum(ranks) for rank in ranks), 0.8, "", 0.1, 0.05)


def request(shade=0, labels=("a", "b", "c"), references=()):
    candidates = tuple(Candidate(label, 0.3, ()) for label in labels)
    return RerankRequest(Image.new("RGB", (8, 8), (shade, 0, 0)), candidates, references=references)


def test_a_second_run_asks_nothing(tmp_path):
    """Another process gets every stored answer, with the scores in its own order of the candidates."""
    path, first = tmp_path / "answers.sqlite", Model()
    asked = [request(shade) for shade in range(20)]
    answers = CachedReranker(first, path, 1000).rerank(asked)
    assert len(first.asked) == 20
    second = Model()
    again = CachedReranker(second, path, 1000)
    assert again.rerank(asked) == answers
    assert again.rerank([request(3, ("c", "a", "b"))]) == [replace(answers[3], scores=(3 / 6, 1 / 6, 2 / 6))]
    assert second.asked == []
    assert again.hits == 21


@pytest.mark.parametrize(
    "changed",
    [request(1), request(0, ("a", "b")), request(0, ("a", "b", "d")),
     request(0, references=((Image.new("RGB", (4, 4)),),) * 3)],
)  # fmt: skip
def test_another_request_is_asked(tmp_path, changed):
    """Another image, other labels or other references make another request."""
    model = Model()
    cached = CachedReranker(model, tmp_path / "a.sqlite", 1000)
    cached.rerank([request(0)])
    cached.rerank([changed])
    assert len(model.asked) == 2


def test_another_model_is_asked(tmp_path):
    """Stored answers belong to one identity: a model, its revision and its prompts."""
    CachedReranker(Model("model@1"), tmp_path / "a.sqlite", 1000).rerank([request()])
    second = Model("model@2")
    CachedReranker(second, tmp_path / "a.sqlite", 1000).rerank([request()])
    assert len(second.asked) == 1


def test_another_model_behind_a_server_is_asked(tmp_path, caplog):
    """Answers belong to what the server says of its model; nothing is asked while it says the same."""
    path, server = tmp_path / "a.sqlite", Model()
    server.served_model = ""  # not known before the first question
    first = CachedReranker(server, path, 1000)

    def ask(cached, shade, says):
        server.served_model = says
        cached.rerank([request(shade)])
        return len(server.asked)

    assert ask(first, 1, "weights-1") == 1
    again = CachedReranker(server, path, 1000)
    assert ask(again, 1, "weights-1") == 1
    assert "says that its model" not in caplog.text
    assert ask(again, 2, "weights-2") == 2
    assert "'weights-2'; it was 'weights-1'" in caplog.text
    assert ask(again, 1, "weights-2") == 3
    assert ask(CachedReranker(server, path, 1000), 1, "") == 3


def test_failures_are_asked_again(tmp_path):
    """A failure is returned but not stored; the other answers of its batch are stored."""
    model = Model(failing=("x",))
    cached = CachedReranker(model, tmp_path / "a.sqlite", 1000)
    both = [request(1), request(2, ("x", "y"))]
    assert [answer.failure for answer in cached.rerank(both)] == ["", "down"]
    cached.rerank(both)
    assert len(model.asked) == 3


def test_the_same_question_twice_in_a_batch_is_asked_once(tmp_path):
    """Both requests get the answer."""
    model = Model()
    answers = CachedReranker(model, tmp_path / "a.sqlite", 1000).rerank([request(), request(labels=("c", "b", "a"))])
    assert len(model.asked) == 1
    assert answers[0].scores == answers[1].scores[::-1]


def test_the_size_is_bounded(tmp_path):
    """The least recently used answers are deleted first."""
    path = tmp_path / "a.sqlite"
    cached = CachedReranker(Model(), path, 10)
    for shade in range(30):
        cached.rerank([request(shade)])
        cached.rerank([request(0)])  # used all the time
    with closing(sqlite3.connect(path)) as database, database:
        assert database.execute("SELECT COUNT(*) FROM answers").fetchone()[0] <= 20
    before = len(cached.inner.asked)
    cached.rerank([request(0), request(29)])
    assert len(cached.inner.asked) == before


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100, None])
def test_a_file_that_cannot_be_used(tmp_path, content, caplog):
    """With garbage or a folder in its place, the cache warns and asks every question."""
    path = tmp_path / "a.sqlite"
    path.mkdir() if content is None else path.write_bytes(content)
    model = Model()
    cached = CachedReranker(model, path, 1000)
    with caplog.at_level(logging.WARNING):
        assert all(not answer.failure for answer in cached.rerank([request(1), request(2)]))
    assert len(model.asked) == 2
    assert content == b"" or "Answers are not stored" in caplog.text


ODD = [
    *("", "{}", "[1]", "null", "[" * 100_000, '{"scores": ["x"]}', '{"scores": [1.0], "option_mass": "1"}'),
    *('{"scores": [4.9, -3.9, 0.0]}', '{"scores": [0.5, 0.5, NaN]}', '{"scores": [1.0, 1.0, 1.0]}'),
    *('{"scores": [0.5, 0.5]}', '{"scores": [0.5, 0.5, 0.0], "disagreement": 7.0}', '{"scores": []}'),
    *('{"scores": [0.5, 0.5, 0.0], "failure": "down"}', '{"scores": [0.5, 0.5, 0.0], "none_probability": true}'),
]


@pytest.mark.parametrize("text", ODD)
def test_a_damaged_answer_is_asked_again(tmp_path, text):
    """A stored text that is not an answer is ignored."""
    path = tmp_path / "a.sqlite"
    first = CachedReranker(Model(), path, 1000)
    (answer,) = first.rerank([request()])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE answers SET answer = ?", (text,))
    model = Model()
    assert CachedReranker(model, path, 1000).rerank([request()]) == [answer]
    assert len(model.asked) == 1


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE answers SET answer = replace(answer, '0.8', '4.9')",  # one flipped bit made such a number
        "CREATE TABLE copy AS SELECT * FROM answers;"
        "UPDATE answers SET answer = (SELECT answer FROM copy WHERE copy.key <> answers.key)",
        "UPDATE answers SET answer = CAST(x'ff' || CAST(answer AS BLOB) AS TEXT)",
        "UPDATE answers SET answer = 5",
    ],
)
def test_a_stored_answer_that_looks_right_is_not_believed(tmp_path, damage):
    """Each has a checksum of its request and itself; only the damaged answers are asked again."""
    path, asked = tmp_path / "a.sqlite", [request(0), request(1, ("a", "b"))]
    expected = CachedReranker(Model(), path, 1000).rerank(asked)
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(damage)
    model = Model()
    assert CachedReranker(model, path, 1000).rerank(asked) == expected
    assert len(model.asked) == 2
    assert CachedReranker(model, path, 1000).rerank(asked) == expected
    assert len(model.asked) == 2  # stored again


def test_a_new_file_that_another_process_writes_is_waited_for(tmp_path):
    """SQLite reports at once that the file is busy when the kind of its journal changes."""
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as other, ThreadPoolExecutor() as threads:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE another (name TEXT)")
        asked = threads.submit(CachedReranker(Model(), path, 1000).rerank, [request(0)])
        time.sleep(0.1)  # however long it is, the answer is stored
        other.execute("COMMIT")
        asked.result()
    model = Model()
    CachedReranker(model, path, 1000).rerank([request(0)])
    assert not model.asked


@pytest.mark.long
def test_two_processes_at_once(tmp_path):
    """Both write and read the same file; no answer is lost and neither fails."""
    code = (
        "import sys; from pathlib import Path; from tests.rerank.test_cache import *\n"
        "cached = CachedReranker(Model(), Path(sys.argv[1]), 1000)\n"
        "for shade in range(60): cached.rerank([request(shade), request(int(sys.argv[2]) + shade)])\n"
    )
    path, root = tmp_path / "a.sqlite", ROOT
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(path), start], cwd=root, stderr=subprocess.PIPE, text=True)
        for start in ("60", "120")
    ]
    errors = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    assert "not stored" not in "".join(errors)
    model = Model()
    CachedReranker(model, path, 1000).rerank([request(shade) for shade in range(180)])
    assert model.asked == []
