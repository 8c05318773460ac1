"""Any sequence of answers and undone answers: the decisions are those of the answers that stand."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lmm_classifier.core.errors import ReviewError
from lmm_classifier.review.storage.answer_log import AnswerLog
from lmm_classifier.review.storage.database import ReviewDatabase
from lmm_classifier.review.storage.records import NewItem
from lmm_classifier.review.storage.run_store import RunStore

ITEMS = 6
RESULT = {"label": "unknown", "reason": "novel", "path": None}
CHOICES = st.lists(st.integers(0, ITEMS - 1), min_size=1, max_size=4, unique=True)


def stored(folder):
    database = ReviewDatabase(folder)
    return database, RunStore(database), AnswerLog(database)


class Answers(RuleBasedStateMachine):
    """Compares the database with a list of the answers that stand."""

    @initialize()
    def start(self):
        self.folder = tempfile.TemporaryDirectory()
        self.database, self.store, self.log = stored(Path(self.folder.name))
        self.run = self.store.create({"kind": "upload"}).id
        new = [NewItem(str(number), f"{number:064x}", RESULT, 1) for number in range(ITEMS)]
        self.ids = self.store.add(self.run, new)
        self.standing, self.undone = [], []
        self.states = {0: self.decisions()}

    def decisions(self):
        items = self.store.items(self.ids)
        return [(item.decision.kind, item.decision.label, item.decision.apart) for item in items]

    def took(self, answer):
        self.standing.append(answer)
        self.states[answer.id] = self.decisions()

    @rule(chosen=CHOICES, kind=st.sampled_from(["unknown", "skip", "not_in_group", "accept"]))
    def take(self, chosen, kind):
        ids = [self.ids[number] for number in chosen]
        labeled = any(self.decisions()[number][0] == "label" for number in chosen)
        if labeled and kind != "not_in_group":
            with pytest.raises(ReviewError, match="have a label already"):
                self.log.take(self.run, kind, ids)
        else:
            self.took(self.log.take(self.run, kind, ids))

    @rule(chosen=CHOICES, taken=st.integers(0, 4))
    def teach(self, chosen, taken):
        ids = [self.ids[number] for number in chosen]
        before = self.decisions()
        if any(before[number][0] == "label" for number in chosen):
            with pytest.raises(ReviewError, match="have a label already"):
                self.log.begin(self.run, "dress", ids)
            return
        answer = self.log.begin(self.run, "dress", ids)
        assert self.decisions() == before  # nothing before the index has it
        if ids[:taken]:
            self.took(self.log.finish(answer, ids[:taken], 7, ["a.png"]))
        else:
            self.log.drop(answer)

    @precondition(lambda self: self.standing)
    @rule(finish=st.booleans())
    def undo_the_newest(self, finish):
        answer = self.log.begin_undo(self.standing[-1].id)
        assert self.log.interrupted() == [answer]
        if finish:
            self.log.finish_undo(answer)
            self.undone.append(self.standing.pop())
            former = self.standing[-1].id if self.standing else 0
            assert self.decisions() == self.states[former]
        else:
            self.log.keep(answer)

    @precondition(lambda self: len(self.standing) > 1)
    @rule()
    def undo_an_older_one(self):
        older = self.standing[0]
        later = {item for answer in self.standing[1:] for item in answer.items}
        if later.isdisjoint(older.items):
            return
        before = self.decisions()
        with pytest.raises(ReviewError, match="later answer"):
            self.log.begin_undo(older.id)
        assert self.decisions() == before

    @precondition(lambda self: self.undone)
    @rule()
    def undo_twice(self):
        with pytest.raises(ReviewError, match="undone already"):
            self.log.begin_undo(self.undone[0].id)

    @invariant()
    def the_newest_standing_answer_is_known(self):
        if hasattr(self, "standing"):
            newest = self.log.newest(self.run)
            assert (newest.id if newest else None) == (self.standing[-1].id if self.standing else None)
            counts = self.store.run(self.run)
            assert counts.open + counts.decided == ITEMS
            assert self.log.interrupted() == []

    def teardown(self):
        if hasattr(self, "database"):
            while self.standing:
                self.log.finish_undo(self.log.begin_undo(self.standing.pop().id))
            assert self.decisions() == [("", "", False)] * ITEMS
            self.database.close()
            self.folder.cleanup()


TestAnswers = Answers.TestCase
TestAnswers.settings = settings(max_examples=6, stateful_step_count=12, deadline=None)


def test_answers_are_listed_newest_first(tmp_path):
    """Of one run or of all, and page by page."""
    database, store, log = stored(tmp_path)
    runs = [store.create({"kind": "upload"}).id for _ in range(2)]
    for run in runs:
        ids = store.add(run, [NewItem("a", "00", RESULT, 1)])
        log.take(run, "skip", ids)
        log.take(run, "unknown", ids)
    assert [answer.run for answer in log.answers()] == [2, 2, 1, 1]
    assert [answer.kind for answer in log.answers(runs[0])] == ["unknown", "skip"]
    assert [answer.id for answer in log.answers(before=3, limit=1)] == [2]
    assert log.answer(4).items == (2,)
    with pytest.raises(ReviewError, match="no answer 9"):
        log.answer(9)
    with pytest.raises(ReviewError, match="not in run 1"):
        log.take(runs[0], "skip", [2])
    database.close()
