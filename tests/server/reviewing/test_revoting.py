"""Answers that come while a vote is under way share the next one."""

import threading
from types import SimpleNamespace

import pytest

from lmm_classifier.core.errors import ClosedError, NoSuchRunError
from lmm_classifier.review.revote import Revote
from lmm_classifier.server.reviewing.revoting import RevoteWorker

LONG = 60
INDEX = SimpleNamespace(contents=SimpleNamespace(stamp="7"))


class Voting:
    """Stands for a classifier and a reviewer; it votes while `gate` is set."""

    index_version = 7

    def __init__(self):
        self.gate, self.busy, self.told = threading.Event(), threading.Event(), []
        self.worker = RevoteWorker(SimpleNamespace(wait_for_index=lambda _: True, index=INDEX), self, self.tell)

    def tell(self, run, answers, revote):
        self.told.append((run, answers, revote.voted))

    def revote(self, run):
        self.busy.set()
        assert self.gate.wait(LONG)
        if run == 99:
            raise NoSuchRunError("gone")
        return Revote(7, run)


@pytest.fixture
def voting():
    made = Voting()
    yield made
    made.gate.set()
    made.worker.close()


def test_votes_are_shared(voting):
    """The first vote began before the others asked, so they get another one."""
    first = voting.worker.ask(1, 10)
    assert voting.busy.wait(LONG)
    others = [voting.worker.ask(1, number) for number in (11, 12)]
    assert others[0] is others[1] is not first
    voting.gate.set()
    assert others[0].result(LONG).voted == first.result(LONG).voted == 1
    assert voting.told == [(1, [10], 1), (1, [11, 12], 1)]
    voting.worker.ask_where_old(1)
    voting.worker.ask(2).result(LONG)
    assert [told[0] for told in voting.told] == [1, 1, 2]


def test_a_failure_ends_one_vote(voting):
    """The next one is not concerned."""
    voting.gate.set()
    with pytest.raises(NoSuchRunError):
        voting.worker.ask(99).result(LONG)
    assert voting.worker.ask(1).result(LONG).voted == 1


def test_closing_ends_those_that_wait(voting):
    """Nobody waits for ever."""
    first = voting.worker.ask(1)
    assert voting.busy.wait(LONG)
    second = voting.worker.ask(2)
    closing = threading.Thread(target=voting.worker.close)
    closing.start()
    with pytest.raises(ClosedError):
        while True:
            voting.worker.ask(3)
    voting.gate.set()
    closing.join(LONG)
    assert first.result(LONG).voted == 1
    with pytest.raises(ClosedError):
        second.result(LONG)
