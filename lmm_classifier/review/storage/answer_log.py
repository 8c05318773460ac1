"""The answers of people: each is stored before it has an effect, and each can be undone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from lmm_classifier.core.errors import AnsweredError, NoSuchRunError
from lmm_classifier.index.storage.database import encoded
from lmm_classifier.review.storage.database import ReviewDatabase
from lmm_classifier.review.storage.records import OPEN, Answer, ItemDecision
from lmm_classifier.review.storage.run_store import decisions_of, mark_changed, now
from lmm_classifier.review.storage.tables import ANSWERS, DECISIONS

AnswerKind = Literal["label", "unknown", "skip", "not_in_group", "accept"]


class AnswerLog:
    """The answers in a database, and the decisions about items that they made."""

    def __init__(self, database: ReviewDatabase) -> None:
        self._database = database

    def take(self, run: int, kind: AnswerKind, items: Sequence[int]) -> Answer:
        """Store an answer that needs no edit of the index, and decide its items, in one commit."""
        with self._database.writing() as connection:
            return self._finish(connection, self._begin(connection, run, kind, "", items))

    def begin(self, run: int, label: str, items: Sequence[int], present: Sequence[str] = ()) -> Answer:
        """Store that items are about to be taught; `finish` or `drop` follows, after a crash too.

        `present` are the content hashes of those that are examples of the label already.
        """
        with self._database.writing() as connection:
            return self._begin(connection, run, "label", label, items, present)

    def finish(
        self, answer: Answer, taught: Sequence[int], edit: int | None = None, examples: Sequence[str] = ()
    ) -> Answer:
        """Decide those of its items that the index took; keep what undoes the edit."""
        former = {item: answer.former[item] for item in taught}
        with self._database.writing() as connection:
            return self._finish(connection, replace(answer, former=former, edit=edit, examples=tuple(examples)))

    def drop(self, answer: Answer) -> None:
        """Forget an answer that had no effect."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM answers WHERE id = ?", (answer.id,))

    def begin_undo(self, number: int) -> Answer:
        """Store that an answer is about to be taken back; `finish_undo` or `keep` follows.

        Raises AnsweredError where it is undone already, or where a later answer decided one of its items.
        """
        with self._database.writing() as connection:
            answer = self._answer(connection, number)
            if answer.state != "done":
                raise AnsweredError(f"Answer {number} is undone already, or it is being undone. Nothing was changed.")
            current = decisions_of(connection, answer.items)
            later = [item for item in answer.items if current.get(item, OPEN).answer != number]
            if later:
                raise AnsweredError(
                    f"Answer {number} cannot be undone: a later answer changed {len(later)} of its "
                    f"{len(answer.items)} items, such as item {later[0]}. Undo the later answer first."
                )
            return self._put(connection, replace(answer, state="undoing"))

    def finish_undo(self, answer: Answer) -> Answer:
        """Give its items the decisions back that they had before."""
        with self._database.writing() as connection:
            for item, former in answer.former.items():
                _decide(connection, item, former)
            mark_changed(connection, answer.run, answer.items)
            return self._put(connection, replace(answer, state="undone"))

    def keep(self, answer: Answer) -> Answer:
        """Give up taking an answer back."""
        with self._database.writing() as connection:
            return self._put(connection, replace(answer, state="done"))

    def answer(self, number: int) -> Answer:
        """Return an answer; raise NoSuchRunError where there is none of this number."""
        with self._database.reading() as connection:
            return self._answer(connection, number)

    def answers(self, run: int | None = None, limit: int = 100, before: int | None = None) -> list[Answer]:
        """Return answers, newest first: of one run or of all, and older than the answer `before`."""
        where = "WHERE (?1 IS NULL OR run = ?1) AND (?2 IS NULL OR id < ?2) ORDER BY id DESC LIMIT ?3"
        with self._database.reading() as connection:
            return [Answer.of_row(row) for row in ANSWERS.rows(connection, where, (run, before, limit))]

    def interrupted(self) -> list[Answer]:
        """Return the answers whose effect is not known, because a program ended in the middle of them."""
        with self._database.reading() as connection:
            where = "WHERE state IN ('teaching', 'undoing') ORDER BY id"
            return [Answer.of_row(row) for row in ANSWERS.rows(connection, where)]

    def done_labels(self, run: int) -> list[Answer]:
        """Return the answers of a run that gave a label and are not undone, the newest first."""
        with self._database.reading() as connection:
            rows = ANSWERS.rows(connection, "WHERE run = ? AND state = 'done' ORDER BY id DESC", (run,))
            return [answer for answer in map(Answer.of_row, rows) if answer.kind == "label"]

    def newest(self, run: int | None = None) -> Answer | None:
        """Return the newest answer that can be undone."""
        where = "WHERE (?1 IS NULL OR run = ?1) AND state = 'done' ORDER BY id DESC LIMIT 1"
        with self._database.reading() as connection:
            found: Iterator[Answer] = map(Answer.of_row, ANSWERS.rows(connection, where, (run,)))
            return next(found, None)

    def taught_hashes(self, run: int) -> set[str]:
        """Return the content hashes of the items of a run that were taught."""
        statement = (
            "SELECT items.hash FROM items JOIN decisions ON decisions.item = items.id "
            "WHERE items.run = ? AND decisions.kind = 'label'"
        )
        with self._database.reading() as connection:
            return {value.decode("ascii") for (value,) in connection.execute(statement, (run,))}

    def _begin(
        self,
        connection: sqlite3.Connection,
        run: int,
        kind: AnswerKind,
        label: str,
        items: Sequence[int],
        present: Sequence[str] = (),
    ) -> Answer:
        owners = self._runs_of(connection, items)
        strange = [item for item in items if owners.get(item) != run]
        if strange:
            raise NoSuchRunError(f"Item {strange[0]} is not in run {run}. Its run may be deleted. Nothing was changed.")
        current = decisions_of(connection, items)
        if kind != "not_in_group":
            require_unlabeled({item: current.get(item, OPEN) for item in items})
        former = {item: current.get(item, OPEN) for item in items}
        answer = Answer(0, run, now(), "teaching", kind, label, former, tuple(present))
        return replace(answer, id=ANSWERS.put(connection, answer.to_row()))

    def _finish(self, connection: sqlite3.Connection, answer: Answer) -> Answer:
        for item in answer.items:
            _decide(connection, item, answer.decision_of(item))
        mark_changed(connection, answer.run, answer.items)
        return self._put(connection, replace(answer, state="done"))

    def _put(self, connection: sqlite3.Connection, answer: Answer) -> Answer:
        ANSWERS.replace(connection, answer.id, answer.to_row())
        return answer

    def _answer(self, connection: sqlite3.Connection, number: int) -> Answer:
        for row in ANSWERS.rows(connection, "WHERE id = ?", (number,)):
            return Answer.of_row(row)
        raise NoSuchRunError(f"There is no answer {number}. Its run may be deleted.")

    def _runs_of(self, connection: sqlite3.Connection, items: Sequence[int]) -> Mapping[int, int]:
        statement = "SELECT id, run FROM items WHERE id = ?"
        found = (connection.execute(statement, (item,)).fetchone() for item in items)
        return dict(row for row in found if row is not None)


def require_unlabeled(decisions: Mapping[int, ItemDecision]) -> None:
    """Raise AnsweredError where one of these items has a label already."""
    labeled = [item for item, decision in decisions.items() if decision.kind == "label"]
    if labeled:
        raise AnsweredError(
            f"{len(labeled)} of {len(decisions)} items have a label already, such as item {labeled[0]}: "
            f"{decisions[labeled[0]].label!r}. Undo that answer, or relabel the examples. Nothing was changed."
        )


def _decide(connection: sqlite3.Connection, item: int, decision: ItemDecision) -> None:
    if decision == OPEN:
        connection.execute("DELETE FROM decisions WHERE item = ?", (item,))
        return
    label, apart = encoded(decision.label), int(decision.apart)
    DECISIONS.put(connection, (item, decision.kind, label, apart, decision.answer))
