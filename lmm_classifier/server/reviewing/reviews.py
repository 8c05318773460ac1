"""The review of one server: its stored runs, the jobs about them, and what their listeners are told."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lmm_classifier.batching.classifier_queue import ClassifierQueue
from lmm_classifier.core.errors import LmmClassifierError, ReviewError
from lmm_classifier.data.places import Place
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.review.reviewer import UPLOAD, Reviewer
from lmm_classifier.review.revote import Revote
from lmm_classifier.review.storage.records import Run
from lmm_classifier.server.config import ServerConfig
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.reviewing.courtesy import Courtesy
from lmm_classifier.server.reviewing.drift import drift_values
from lmm_classifier.server.reviewing.events import RunEvents
from lmm_classifier.server.reviewing.jobs import RunJobs
from lmm_classifier.server.reviewing.revoting import RevoteWorker
from lmm_classifier.server.reviewing.roots import NamedRoots

logger: logging.Logger = logging.getLogger(__name__)

_TOLD = 5000  # ids of items that need no person any more, in one event
_OFTEN = 0.5  # seconds between two counts of a run under way


@dataclass(frozen=True, slots=True)
class DriftFigures:
    """What the drift tests of all runs say."""

    log10_evidence: float = 0.0  # of the run that was under way last
    alarms: int = 0  # runs that had an alarm


class Reviewing:
    """Runs and their review. Where the index cannot have any, `why_not` says so, and every use raises ProblemError.

    Args:
        classifier: classifies the images, and is taught.
        queue: of the requests, which go first.
        settings: of the server.
    """

    def __init__(self, classifier: HybridClassifier, queue: ClassifierQueue, settings: ServerConfig) -> None:
        self.roots: NamedRoots = NamedRoots(settings.roots)
        self.events: RunEvents = RunEvents()
        self.why_not: str = ""
        self._teller = ThreadPoolExecutor(1, "tell")
        self.open: int = 0  # items of all runs that wait for a person
        self.drift: DriftFigures = DriftFigures()
        self.on_deleted: Callable[[], object] = lambda: None  # called in any thread, after a run was deleted
        self._counted: dict[int, float] = {}
        self._parts: tuple[Reviewer, RunJobs, RevoteWorker] | None = None
        try:
            reviewer = Reviewer(classifier)
        except ReviewError as error:
            logger.warning("There is no review: %s", error)
            self.why_not = "Runs cannot be stored next to this index. The log of the server has the details."
            return
        jobs = RunJobs(reviewer, Courtesy(queue), self._changed, settings)
        self._parts = reviewer, jobs, RevoteWorker(classifier, reviewer, self._voted)
        self._count_open()

    @property
    def reviewer(self) -> Reviewer:
        """Return the stored runs."""
        return self._opened()[0]

    @property
    def jobs(self) -> RunJobs:
        """Return what classifies the images of runs."""
        return self._opened()[1]

    @property
    def revotes(self) -> RevoteWorker:
        """Return what votes again."""
        return self._opened()[2]

    def create(self, root: str | None, folder: str) -> Run:
        """Store a new run over a folder below a root, or over uploads; it reads the disk.

        Raises:
            ProblemError: there is no such folder.
        """
        if root is None:
            return self.reviewer.runs.create(UPLOAD)
        path = self.roots.folder(root, folder)
        run = self.reviewer.runs.create({"kind": "folder", "folder": str(path)})
        self.jobs.start(run.id)
        return run

    def resume(self, number: int) -> Run:
        """Go on with a run in the background.

        Raises:
            ProblemError: its folder is not below a root of this server.
        """
        run = self.reviewer.runs.run(number)
        if run.source["kind"] == "upload":
            self.reviewer.runs.set_state(number, "running")
        else:
            shown = self.roots.shown(str(run.source["folder"]))
            if shown["root"] is None:
                raise ProblemError("refused-run", "The folder of the run is not below a root of this server.")
            self.roots.folder(shown["root"], shown["folder"])
            self.jobs.start(number)
        return self.reviewer.runs.run(number)

    def cancel(self, number: int) -> Run:
        """Stop a run; what is done stays, and it can go on."""
        run = self.reviewer.runs.run(number)
        if run.source["kind"] == "upload":
            self.reviewer.runs.set_state(number, "cancelled")
            self._changed(number, False)
        else:
            self.jobs.cancel(number, wait=True)
            if self.reviewer.runs.run(number).state == "running" and self.jobs.state_of(run) == "interrupted":
                self.reviewer.runs.set_state(number, "cancelled")
        return self.reviewer.runs.run(number)

    def delete(self, number: int) -> None:
        """Stop a run and delete it."""
        self.reviewer.runs.run(number)
        self.jobs.cancel(number, wait=True)
        self.reviewer.delete(number)
        self.on_deleted()
        self.events.publish(number, "deleted", {"run": number})
        self._count_open()

    def run_values(self, run: Run) -> dict[str, Any]:
        """Return a run as JSON."""
        is_upload = run.source["kind"] == "upload"
        source = {"kind": "upload", "root": None, "folder": None} if is_upload else self._source(run)
        state, failure = self.jobs.state_of(run), self.jobs.failure_of(run.id)
        store = self.reviewer.drift.store
        drift = drift_values(store.report(run.id), run.id, store)
        return {**run.to_dict(), "source": source, "state": state, "failure": failure, "drift": drift}

    def file_of(self, item: int, content_hash: str) -> Place:
        """Return the file of an item with a content; raise ProblemError where there is none, or where it changed."""
        reviewer = self.reviewer
        with suppress(ReviewError):
            if reviewer.runs.hashes_of([item]) == [content_hash]:
                return reviewer.file_of(item)
        raise ProblemError("not-found", "No item has this content, or its file is gone or has changed.")

    def tell_later(self, run: int, kind: str, values: dict[str, Any]) -> None:
        """Do the same as `tell` in another thread, without waiting for it."""
        with suppress(RuntimeError):  # the server ends, and so do the listeners
            self._teller.submit(self.tell, run, kind, values)

    def tell(self, run: int, kind: str, values: dict[str, Any]) -> None:
        """Tell the listeners of a run that something happened, and how many items are open now."""
        with suppress(LmmClassifierError):
            self._count_open()
            counts = self.run_values(self.reviewer.runs.run(run))
            self.events.publish(run, kind, {**values, "run": counts})

    def recover(self) -> None:
        """Finish or drop the answers that another server could not finish."""
        if self._parts is not None:
            self.reviewer.recover()
            self._count_open()

    def stop(self) -> None:
        """End the listeners, so that their connections end; jobs stop after the batches under way."""
        self.events.close()

    def close(self) -> None:
        """End everything. Answers that were taken are stored; runs that are not done can go on later."""
        self.events.close()
        self._teller.shutdown(cancel_futures=True)
        if self._parts is not None:
            reviewer, jobs, revotes = self._parts
            jobs.close()
            revotes.close()
            reviewer.close()

    def _source(self, run: Run) -> dict[str, Any]:
        return self.roots.shown(str(run.source["folder"]))

    def _changed(self, run: int, is_often: bool) -> None:
        """Tell the progress of a run, not more often than anybody can see."""
        now = time.monotonic()
        if is_often and now - self._counted.get(run, -_OFTEN) < _OFTEN:
            return
        self._counted[run] = now
        self.tell(run, "progress", {})

    def _voted(self, run: int, answers: list[int], revote: Revote) -> None:
        values = {**revote.to_dict(), "answers": answers, "confident": [*revote.newly_confident[:_TOLD]]}
        self.tell(run, "revote", values)

    def _count_open(self) -> None:
        self.open = self.reviewer.runs.count_open()
        drift = self.reviewer.drift.store
        newest = drift.newest()
        self.drift = DriftFigures(newest["log10_evidence"] if newest else 0.0, drift.alarms())

    def _opened(self) -> tuple[Reviewer, RunJobs, RevoteWorker]:
        if self._parts is None:
            raise ProblemError("review-unavailable", self.why_not)
        return self._parts
