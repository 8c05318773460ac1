"""Answers kept in a small SQLite file, so that nothing is asked twice: across runs and processes."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from PIL.Image import Image

from lmm_classifier.core.datatypes import Question, Reranked
from lmm_classifier.core.protocols import Reranker

logger = logging.getLogger(__name__)

_BUSY = 10.0  # seconds to wait while another process writes
_SWEEP = 256  # answers added before the bound is looked after


class CachedReranker:
    """Asks another reranker only what it was not asked before; failures are asked again.

    A question is known by the pixels of its picture and references, its labels, and what the other reranker's answers
    depend on. A file that cannot be used is warned of once, and the questions are then asked as if there were none.
    """

    def __init__(self, inner: Reranker, path: Path, most: int) -> None:
        self.inner, self.path, self._most = inner, path, most
        self._added = 0
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._usable = True
        self.hits = 0  # answers that were not asked for

    @property
    def identity(self) -> str:
        """What the answers depend on: the other reranker's."""
        return self.inner.identity

    @property
    def references(self) -> int:
        """Reference pictures wanted per candidate: the other reranker's."""
        return self.inner.references

    @property
    def trust(self) -> tuple[float, float]:
        """Weights until measured: the other reranker's."""
        return self.inner.trust

    def rerank(self, questions: Sequence[Question]) -> list[Reranked]:
        """Return the kept answers, and those of the other reranker for the rest."""
        keys = [self._key(question) for question in questions]
        answers = self._kept(keys)
        missing = {key: question for key, question in zip(keys, questions) if key not in answers}
        self.hits += sum(key in answers for key in keys)
        if missing:
            asked = list(missing.values())
            fresh = [_by_name(*pair) for pair in zip(asked, self.inner.rerank(asked), strict=True)]
            answers |= dict(zip(missing, fresh))
            self._keep({key: answer for key, answer in zip(missing, fresh) if not answer.failure})
        return [_as_asked(question, answers[key]) for question, key in zip(questions, keys)]

    def _key(self, question: Question) -> str:
        order = _names_order(question)
        shown = [[_digest(one) for one in question.references[place]] for place in order] if question.references else []
        known = [self.inner.identity, _digest(question.image), [question.candidates[i].label for i in order], shown]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()

    def _kept(self, keys: Sequence[str]) -> dict[str, Reranked]:
        with self._lock:
            try:
                database = self._open()
                found = {}
                for key in dict.fromkeys(keys):
                    if database is None:
                        break
                    row = database.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
                    if row is not None:
                        found[key] = _restored(row[0])
                if found and database:
                    now = time.time()
                    database.executemany("UPDATE answers SET used = ? WHERE key = ?", [(now, key) for key in found])
                    database.commit()
                return {key: answer for key, answer in found.items() if answer is not None}
            except sqlite3.Error as error:
                self._give_up(error)
                return {}

    def _keep(self, answers: dict[str, Reranked]) -> None:
        with self._lock:
            try:
                if (database := self._open()) is None:
                    return
                now = time.time()
                rows = [(key, json.dumps(asdict(answer)), now) for key, answer in answers.items()]
                database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)
                self._added += len(rows)
                if self._added >= min(_SWEEP, self._most):
                    self._added = 0
                    oldest = "SELECT key FROM answers ORDER BY used DESC LIMIT -1 OFFSET ?"
                    database.execute(f"DELETE FROM answers WHERE key IN ({oldest})", (self._most,))
                database.commit()
            except sqlite3.Error as error:
                self._give_up(error)

    def _open(self) -> sqlite3.Connection | None:
        if self._database is None and self._usable:
            self._database = sqlite3.connect(self.path, timeout=_BUSY, check_same_thread=False)
            weakref.finalize(self, self._database.close)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT, used REAL)")
            self._database.execute("CREATE INDEX IF NOT EXISTS by_use ON answers (used)")
            self._database.commit()
        return self._database

    def _give_up(self, error: sqlite3.Error) -> None:
        if self._usable:
            logger.warning(
                "answers are not kept: %s cannot be used (%s); delete it or make it writable", self.path, error
            )
        self._usable = False
        if self._database is not None:
            self._database.close()
            self._database = None


def _restored(text: str) -> Reranked | None:
    """A kept answer; None where the file holds what is none."""
    try:
        values = json.loads(text)
        return Reranked(**{**values, "scores": tuple(map(float, values["scores"]))})
    except (ValueError, TypeError, KeyError):
        return None


def _names_order(question: Question) -> list[int]:
    return sorted(range(len(question.candidates)), key=lambda place: question.candidates[place].label)


def _by_name(question: Question, answer: Reranked) -> Reranked:
    """The answer with its scores in the order of the labels' names, as it is kept."""
    return replace(answer, scores=tuple(answer.scores[place] for place in _names_order(question) if answer.scores))


def _as_asked(question: Question, answer: Reranked) -> Reranked:
    """The kept answer with its scores in the order of this question's candidates."""
    scores = dict(zip(_names_order(question), answer.scores))
    return replace(answer, scores=tuple(scores[place] for place in sorted(scores)))


def _digest(image: Image) -> str:
    return hashlib.blake2b(f"{image.size} {image.mode} ".encode() + image.tobytes(), digest_size=20).hexdigest()
