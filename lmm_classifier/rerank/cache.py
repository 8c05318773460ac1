"""A cache of answers in a small SQLite file, shared by runs and processes, so that no question is asked twice."""

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
from functools import cache
from pathlib import Path

from PIL.Image import Image
from pydantic import TypeAdapter

from lmm_classifier.core.datatypes import RerankRequest, RerankResult
from lmm_classifier.core.forking import leave_to_parent, register_for_reset
from lmm_classifier.core.protocols import Reranker
from lmm_classifier.core.reopening import Closable, Reopened
from lmm_classifier.core.sqlite_errors import SQLITE_ERRORS, reason_of

logger: logging.Logger = logging.getLogger(__name__)

_BUSY_SECONDS = 10.0  # to wait while another process writes
_TRIM_EVERY = 256  # answers added between two checks of the size
_CHECKSUM = 16  # characters
_SELECT = "SELECT CAST(answer AS BLOB) FROM answers WHERE key = ?"  # bytes, because damaged text has no characters


class CachedReranker(Reopened):
    """Asks another reranker only what it was not asked before; requests that failed are asked again.

    The key of an answer is made of the pixels of the image and its references, the labels, the identity of the other
    reranker, and what its server last said of the model. Each answer has a checksum: a damaged one is asked again. If
    the file cannot be used, the cache warns once and asks every question.

    Args:
        inner: the other reranker.
        path: the SQLite file; it is created where it is missing.
        max_entries: most answers to store; the least recently used are deleted first.
    """

    def __init__(self, inner: Reranker, path: Path, max_entries: int) -> None:
        self.inner: Reranker = inner
        self.path: Path = path
        self._max_entries = max_entries
        self._added = 0  # since the last check of the size
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._closing: weakref.finalize[..., CachedReranker] | None = None
        self._usable = True
        self.hits: int = 0  # answers that came from the file
        register_for_reset(self)

    @property
    def identity(self) -> str:
        """The identity of the other reranker."""
        return self.inner.identity

    @property
    def references(self) -> int:
        """Number of reference images per candidate that the other reranker wants."""
        return self.inner.references

    @property
    def trust(self) -> tuple[float, float]:
        """The weights of the other reranker until they are measured."""
        return self.inner.trust

    def rerank(self, requests: Sequence[RerankRequest]) -> list[RerankResult]:
        """Return the stored answers, and those of the other reranker for the rest."""
        model = self._stored_model()
        keys = [self._key(request, model) for request in requests]
        answers = self._read(keys)
        for key, request in zip(keys, requests):
            if key in answers and len(answers[key].scores) != len(request.candidates):
                del answers[key]
        missing = {key: request for key, request in zip(keys, requests) if key not in answers}
        self.hits += sum(key in answers for key in keys)
        if missing:
            asked = list(missing.values())
            new = [_sorted_by_name(*pair) for pair in zip(asked, self.inner.rerank(asked), strict=True)]
            answers |= dict(zip(missing, new))
            model = self._current_model(model)
            self._write(
                {self._key(request, model): answer for request, answer in zip(asked, new) if not answer.failure}
            )
        return [_sorted_as_asked(request, answers[key]) for request, key in zip(requests, keys)]

    def close(self) -> None:
        """Close the file and the other reranker."""
        with self._lock:
            if self._database is not None:
                self._database.close()
            self._database = None
        if isinstance(self.inner, Closable):
            self.inner.close()

    def reset_after_fork(self) -> None:
        """Leave the connection to the parent process; the next request opens another one."""
        if self._closing is not None:
            self._closing.detach()
        leave_to_parent(self._database)
        self._database = self._closing = None
        self._lock = threading.Lock()

    def _key(self, request: RerankRequest, model: str) -> str:
        order = _order_by_name(request)
        references = []
        if request.references:
            references = [[_digest(image) for image in request.references[position]] for position in order]
        labels = [request.candidates[position].label for position in order]
        parts = [self.inner.identity, _digest(request.image), labels, references, *filter(None, [model])]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _stored_model(self) -> str:
        """Return what the server said of its model when its last answers were stored; empty where it said nothing."""
        with self._lock:
            try:
                database = self._open()
                found = (
                    database
                    and database.execute(
                        "SELECT model FROM models WHERE identity = ?", (self.inner.identity,)
                    ).fetchone()
                )
            except SQLITE_ERRORS as error:
                self._give_up(error)
                return ""
        return str(found[0]) if found else ""

    def _current_model(self, stored: str) -> str:
        """Return what the server says of its model now, and store it; answers of another model are then not used."""
        model: str = getattr(self.inner, "served_model", "") or stored
        if model != stored:
            if stored:
                logger.warning(
                    "The server says that its model is %r; it was %r when answers were stored, so they are not used. "
                    "If the reranker was measured with the other model, measure it again.",
                    model,
                    stored,
                )
            with self._lock:
                try:
                    if (database := self._open()) is not None:
                        database.execute("INSERT OR REPLACE INTO models VALUES (?, ?)", (self.inner.identity, model))
                        database.commit()
                except SQLITE_ERRORS as error:
                    self._give_up(error)
        return model

    def _read(self, keys: Sequence[str]) -> dict[str, RerankResult]:
        with self._lock:
            try:
                if (database := self._open()) is None:
                    return {}
                stored = {}
                for key in dict.fromkeys(keys):
                    row = database.execute(_SELECT, (key,)).fetchone()
                    if row is not None:
                        stored[key] = _unsealed(key, row[0])
                if stored:
                    now = time.time()
                    database.executemany("UPDATE answers SET used = ? WHERE key = ?", [(now, key) for key in stored])
                    database.commit()
                return {key: answer for key, answer in stored.items() if answer is not None}
            except SQLITE_ERRORS as error:
                self._give_up(error)
                return {}

    def _write(self, answers: dict[str, RerankResult]) -> None:
        with self._lock:
            try:
                if (database := self._open()) is None:
                    return
                now = time.time()
                rows = [(key, _sealed(key, answer), now) for key, answer in answers.items()]
                database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)
                self._added += len(rows)
                if self._added >= min(_TRIM_EVERY, self._max_entries):
                    self._added = 0
                    oldest = "SELECT key FROM answers ORDER BY used DESC LIMIT -1 OFFSET ?"
                    database.execute(f"DELETE FROM answers WHERE key IN ({oldest})", (self._max_entries,))
                database.commit()
            except SQLITE_ERRORS as error:
                self._give_up(error)

    def _open(self) -> sqlite3.Connection | None:
        if self._database is None and self._usable:
            self._database = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, check_same_thread=False)
            self._closing = weakref.finalize(self, self._database.close)
            _write_ahead(self._database)
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT, used REAL)")
            self._database.execute("CREATE TABLE IF NOT EXISTS models (identity TEXT PRIMARY KEY, model TEXT)")
            self._database.execute("CREATE INDEX IF NOT EXISTS by_use ON answers (used)")
            self._database.commit()
        return self._database

    def _give_up(self, error: Exception) -> None:
        if self._usable:
            logger.warning(
                "Answers are not stored, because %s cannot be used: %s. Delete it or make it writable.",
                self.path,
                reason_of(error),
            )
        self._usable = False
        if self._database is not None:
            self._database.close()
            self._database = None


def _write_ahead(database: sqlite3.Connection) -> None:
    """Switch to a write-ahead log; SQLite itself does not wait where another process opens the same new file."""
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _sealed(key: str, answer: RerankResult) -> str:
    """Return an answer as it is stored: a checksum of the key and the answer, then the answer."""
    text = json.dumps(asdict(answer))
    return _checksum(key, text) + text


def _unsealed(key: str, stored: bytes) -> RerankResult | None:
    """Return a stored answer; None where a bit of it flipped, or where it is the answer to another request."""
    try:
        checksum, text = stored[:_CHECKSUM].decode(), stored[_CHECKSUM:].decode()
        if checksum != _checksum(key, text):
            return None
        answer = _schema().validate_json(text, strict=True)
    except (ValueError, TypeError, RecursionError):
        return None
    probabilities = [*answer.scores, answer.option_mass, answer.disagreement, answer.none_probability or 0.0]
    plausible = all(-1e-6 <= probability <= 1 + 1e-6 for probability in probabilities)  # false for NaN
    return answer if plausible and not answer.failure and abs(sum(answer.scores) - 1) < 1e-6 else None


@cache
def _schema() -> TypeAdapter[RerankResult]:
    return TypeAdapter(RerankResult)


def _checksum(key: str, text: str) -> str:
    return hashlib.blake2b(f"{key} {text}".encode(), digest_size=_CHECKSUM // 2).hexdigest()


def _order_by_name(request: RerankRequest) -> list[int]:
    return sorted(range(len(request.candidates)), key=lambda position: request.candidates[position].label)


def _sorted_by_name(request: RerankRequest, answer: RerankResult) -> RerankResult:
    """Return the answer with its scores in the order of the label names, as it is stored."""
    order = _order_by_name(request) if answer.scores else []
    return replace(answer, scores=tuple(answer.scores[position] for position in order))


def _sorted_as_asked(request: RerankRequest, answer: RerankResult) -> RerankResult:
    """Return a stored answer with its scores in the order of the candidates of this request."""
    scores = dict(zip(_order_by_name(request), answer.scores))
    return replace(answer, scores=tuple(scores[position] for position in sorted(scores)))


def _digest(image: Image) -> str:
    return hashlib.blake2b(f"{image.size} {image.mode} ".encode() + image.tobytes(), digest_size=20).hexdigest()
