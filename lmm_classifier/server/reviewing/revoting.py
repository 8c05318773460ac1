"""New votes in the background: several answers that come while one is under way share the next one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread

from lmm_classifier.core.errors import ClosedError, LmmClassifierError
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.review.reviewer import Reviewer
from lmm_classifier.review.revote import Revote

logger: logging.Logger = logging.getLogger(__name__)

_VISIBLE = 60.0  # seconds to wait until the edits of the answers count


@dataclass
class _Asked:
    """Who waits for the next vote on a run."""

    answers: list[int] = field(default_factory=list)
    done: Future[Revote] = field(default_factory=Future)


class RevoteWorker:
    """Votes again on runs, one after the other, in a thread of its own.

    Args:
        classifier: its newest version votes.
        reviewer: votes.
        on_done: called in the thread after each vote, with the run, the answers that it takes into account, and what
            it changed.
    """

    def __init__(
        self,
        classifier: HybridClassifier,
        reviewer: Reviewer,
        on_done: Callable[[int, list[int], Revote], None],
    ) -> None:
        self._classifier, self._reviewer, self._on_done = classifier, reviewer, on_done
        self._asked: dict[int, _Asked] = {}
        self._voted: dict[int, str] = {}  # run -> stamp of the index: its version and its calibration
        self._changed, self._is_closed = Condition(), False
        self._thread: Thread | None = None

    def ask(self, run: int, answer: int | None = None) -> Future[Revote]:
        """Ask for a vote on a run that takes all edits made before into account; do not cancel the future."""
        with self._changed:
            if self._is_closed:
                raise ClosedError("The server ends. The open images are voted on again at its next start.")
            asked = self._asked.setdefault(run, _Asked())
            asked.answers += [] if answer is None else [answer]
            if self._thread is None:
                self._thread = Thread(target=self._work, name="revote", daemon=True)
                self._thread.start()
            self._changed.notify()
            return asked.done

    def ask_where_old(self, run: int) -> None:
        """Ask for a vote where the index or its thresholds changed since the last one, whoever changed them."""
        if self._voted.get(run) != self._classifier.index.contents.stamp:
            self.ask(run)

    def close(self) -> None:
        """End after the vote under way; those that wait end with ClosedError."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_VISIBLE)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked or self._is_closed)
                if self._is_closed:
                    remaining = [*self._asked.values()]
                    break
                run = next(iter(self._asked))
                asked = self._asked.pop(run)
            self._vote(run, asked)
        for asked in remaining:
            asked.done.set_exception(ClosedError("The server ends before the new vote."))

    def _vote(self, run: int, asked: _Asked) -> None:
        try:
            self._classifier.wait_for_index(_VISIBLE)
            stamp = self._classifier.index.contents.stamp
            revote = self._reviewer.revote(run)
            self._voted[run] = stamp
            self._on_done(run, asked.answers, revote)
        except Exception as error:
            if not isinstance(error, LmmClassifierError):
                logger.exception("A new vote on run %s failed.", run)
            asked.done.set_exception(error)
        else:
            asked.done.set_result(revote)
