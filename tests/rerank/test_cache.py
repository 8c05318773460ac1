"""Kept answers: nothing is asked twice, by one process or two, and a broken file hurts nobody."""

import logging
import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest
from PIL import Image

from lmm_classifier.core.datatypes import Candidate, Question, Reranked
from lmm_classifier.rerank.cache import CachedReranker
from tests.helpers.paths import ROOT


class Model:
    """Prefers labels late in the alphabet, and counts its calls."""

    trust, references = (1.0, 1.0), 1

    def __init__(self, identity="model@1", failing=()):
        self.identity, self.failing, self.asked = identity, failing, []

    def rerank(self, questions):
        self.asked += questions
        return [self.answer(question) for question in questions]

    def answer(self, question):
        if any(candidate.label in self.failing for candidate in question.candidates):
            return Reranked((), 0.0, "down")
        ranks = [1 + sorted(c.label for c in question.candidates).index(one.label) for one in question.candidates]
        return Reranked(tuple(rank / sum(ranks) for rank in ranks), 0.8, "", 0.1, 0.05)


def question(shade=0, labels=("a", "b", "c"), references=()):
    return Question(Image.new("RGB", (8, 8), (shade, 0, 0)), tuple(Candidate(one, 0.3, ()) for one in labels),
                    references=references)  # fmt: skip


def test_a_second_run_asks_nothing(tmp_path):
    """Another process finds every answer, whole and in its own order of the candidates."""
    path, first = tmp_path / "answers.sqlite", Model()
    asked = [question(shade) for shade in range(20)]
    answers = CachedReranker(first, path, 1000).rerank(asked)
    assert len(first.asked) == 20
    second = Model()
    again = CachedReranker(second, path, 1000)
    assert again.rerank(asked) == answers
    assert again.rerank([question(3, ("c", "a", "b"))]) == [replace(answers[3], scores=(3 / 6, 1 / 6, 2 / 6))]
    assert second.asked == []
    assert again.hits == 21


@pytest.mark.parametrize(
    "other",
    [question(1), question(0, ("a", "b")), question(0, ("a", "b", "d")),
     question(0, references=((Image.new("RGB", (4, 4)),),) * 3)],
)  # fmt: skip
def test_another_question_is_asked(tmp_path, other):
    """Another picture, other labels or other references are another question."""
    model = Model()
    cached = CachedReranker(model, tmp_path / "a.sqlite", 1000)
    cached.rerank([question(0)])
    cached.rerank([other])
    assert len(model.asked) == 2


def test_another_model_is_asked(tmp_path):
    """Answers belong to a model, its revision and wording."""
    CachedReranker(Model("model@1"), tmp_path / "a.sqlite", 1000).rerank([question()])
    other = Model("model@2")
    CachedReranker(other, tmp_path / "a.sqlite", 1000).rerank([question()])
    assert len(other.asked) == 1


def test_failures_are_asked_again(tmp_path):
    """A failure is told, not kept; the rest of its batch is."""
    model = Model(failing=("x",))
    cached = CachedReranker(model, tmp_path / "a.sqlite", 1000)
    both = [question(1), question(2, ("x", "y"))]
    assert [answer.failure for answer in cached.rerank(both)] == ["", "down"]
    cached.rerank(both)
    assert len(model.asked) == 3


def test_the_same_question_twice_in_a_batch_is_asked_once(tmp_path):
    """Both get the answer."""
    model = Model()
    answers = CachedReranker(model, tmp_path / "a.sqlite", 1000).rerank([question(), question(labels=("c", "b", "a"))])
    assert len(model.asked) == 1
    assert answers[0].scores == answers[1].scores[::-1]


def test_it_is_bounded(tmp_path):
    """The answers not used for longest go first."""
    path = tmp_path / "a.sqlite"
    cached = CachedReranker(Model(), path, 10)
    for shade in range(30):
        cached.rerank([question(shade)])
        cached.rerank([question(0)])  # used all the time
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT COUNT(*) FROM answers").fetchone()[0] <= 20
    before = len(cached.inner.asked)
    cached.rerank([question(0), question(29)])
    assert len(cached.inner.asked) == before


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100, None])
def test_a_file_that_cannot_be_used(tmp_path, content, caplog):
    """Garbage or a folder in its place: a warning, and the questions are asked."""
    path = tmp_path / "a.sqlite"
    path.mkdir() if content is None else path.write_bytes(content)
    model = Model()
    cached = CachedReranker(model, path, 1000)
    with caplog.at_level(logging.WARNING):
        assert all(not answer.failure for answer in cached.rerank([question(1), question(2)]))
    assert len(model.asked) == 2
    assert content == b"" or "answers are not kept" in caplog.text


@pytest.mark.parametrize("kept", ["", "{}", "[1]", '{"scores": ["x"]}', '{"scores": [1], "what": 2}'])
def test_a_damaged_answer_is_asked_again(tmp_path, kept):
    """What is no answer is not believed."""
    path = tmp_path / "a.sqlite"
    first = CachedReranker(Model(), path, 1000)
    (answer,) = first.rerank([question()])
    with sqlite3.connect(path) as database:
        database.execute("UPDATE answers SET answer = ?", (kept,))
    model = Model()
    assert CachedReranker(model, path, 1000).rerank([question()]) == [answer]
    assert len(model.asked) == 1


def test_two_processes_at_once(tmp_path):
    """Both write and read the same file; nothing is lost and nobody fails."""
    code = (
        "import sys; from pathlib import Path; from tests.rerank.test_cache import *\n"
        "cached = CachedReranker(Model(), Path(sys.argv[1]), 1000)\n"
        "for shade in range(60): cached.rerank([question(shade), question(int(sys.argv[2]) + shade)])\n"
    )
    path, root = tmp_path / "a.sqlite", ROOT
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(path), start], cwd=root, stderr=subprocess.PIPE, text=True)
        for start in ("60", "120")
    ]
    errors = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    assert "not kept" not in "".join(errors)
    model = Model()
    CachedReranker(model, path, 1000).rerank([question(shade) for shade in range(180)])
    assert model.asked == []
