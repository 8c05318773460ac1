"""The review of runs: classify images, show what to review first, take answers, and vote again after each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any, Self

from lmm_classifier.core.errors import ReviewError
from lmm_classifier.core.progress import ProgressCallback
from lmm_classifier.data.places import Place, file_name
from lmm_classifier.discovery.landscape import Landscape
from lmm_classifier.discovery.suggestions.stopping import Stopping, stopping
from lmm_classifier.discovery.unlabeled import landscape_of
from lmm_classifier.index.formats import is_durable
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.flow import Flow
from lmm_classifier.review.active_runs import ActiveRuns
from lmm_classifier.review.decisions import Decisions
from lmm_classifier.review.drift import DriftTests
from lmm_classifier.review.images import FolderImages, ImageSource, UploadedFiles, file_of_item
from lmm_classifier.review.ordering import ordered_groups
from lmm_classifier.review.queue_pages import ReviewPage, ReviewQueue
from lmm_classifier.review.revote import OpenVotes, Revote, Revoter
from lmm_classifier.review.runner import add_items, classify_items, classify_run
from lmm_classifier.review.storage.answer_log import AnswerKind, AnswerLog
from lmm_classifier.review.storage.database import ReviewDatabase
from lmm_classifier.review.storage.drift_store import DriftStore
from lmm_classifier.review.storage.records import Answer, Item, Run
from lmm_classifier.review.storage.run_store import RunStore
from lmm_classifier.review.stored_runs import delete_runs

UPLOAD: Mapping[str, Any] = {"kind": "upload"}  # source of a run whose images come as bytes


@dataclass(frozen=True)
class Decided:
    """What an answer did.

    `answer` is None where none of the items could be taught; `refused` names the items that could not, with the reason.
    """

    answer: Answer | None
    revote: Revote | None  # None: the index did not change
    refused: Mapping[int, str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        answer = None if self.answer is None else self.answer.id
        edit = None if self.answer is None else self.answer.edit
        counts = (
            {"re_voted": 0, "newly_confident": 0, "newly_open": 0} if self.revote is None else self.revote.to_dict()
        )
        return {"answer": answer, "edit": edit, **counts, "refused": {str(k): v for k, v in self.refused.items()}}


class Reviewer:
    """Reviews runs over images with a classifier; runs and answers are stored next to its durable index.

    Any number of threads may use it. It is a context manager that closes its database, but not the classifier. On
    opening, answers that a crash interrupted are finished or dropped, as the index tells.

    Raises:
        ReviewError: the index is an `.npz` file, which cannot be edited, or the stored runs cannot be opened.

    Example:
        >>> from pathlib import Path
        >>> from lmm_classifier import HybridClassifier, PipelineConfig, build_index_from_directory
        >>> from lmm_classifier.review.reviewer import Reviewer
        >>> config = PipelineConfig.offline()
        >>> config.retrieval.index_path = Path("review-index")
        >>> report = build_index_from_directory("images", config.retrieval.index_path, config=config)
        >>> with HybridClassifier(config) as classifier, Reviewer(classifier) as reviewer:
        ...     run = reviewer.classify_folder(Path("new"))
        ...     page = reviewer.page(run.id)
        >>> run.state, run.items == run.open + run.confident
        ('done', True)
    """

    def __init__(self, classifier: HybridClassifier) -> None:
        location = classifier.config.retrieval.index_path
        if not is_durable(location):
            raise ReviewError(f"{location} is no durable index, so it cannot be taught. Import it into a folder first.")
        folder = Path(location)
        self._classifier, self._folder = classifier, folder
        self._database = ReviewDatabase(folder)
        self.runs: RunStore = RunStore(self._database)
        self.drift: DriftTests = DriftTests(DriftStore(self._database), classifier)
        self.answers: AnswerLog = AnswerLog(self._database)
        self.uploads: UploadedFiles = UploadedFiles(folder)
        self.active: ActiveRuns = ActiveRuns(folder)
        self._queue = ReviewQueue(self._database, self.runs)
        self._decisions = Decisions(classifier.editor(), folder, self.runs, self.answers)
        self._revoter = Revoter(self.runs, [encoder.fingerprint for encoder in classifier.encoders])
        self._landscape: tuple[str, Landscape] | None = None
        self._lock = RLock()  # one vote at a time: each needs memory and all processors
        self.recover()

    def recover(self) -> None:
        """Finish or drop the answers that a crash interrupted, as the index tells."""
        self._decisions.recover()

    def classify_folder(self, folder: Path, progress: ProgressCallback | None = None) -> Run:
        """Classify the images in a folder, an archive or a table, in a new run; raise DatasetError for others."""
        source = FolderImages(folder)
        return self.resume(self.runs.create(source.describe(), len(source)).id, progress, source)

    def resume(
        self,
        run: int,
        progress: ProgressCallback | None = None,
        source: ImageSource | None = None,
        batch_size: int | None = None,
    ) -> Run:
        """Go on with a run over a folder where it ended; see `classify_run`. One program at a time works on a run."""
        if source is None:
            described = self.runs.run(run).source
            if described["kind"] != "folder":
                raise ReviewError(f"The images of run {run} were uploaded. Upload those that are missing.")
            source = FolderImages(Path(described["folder"]))
        with self.active.working(run):
            classify_run(self.runs, run, source, self._classifier, self.drift, progress, batch_size)
        return self.runs.run(run)

    def add_uploads(self, run: int, images: Iterable[tuple[str, bytes]]) -> list[int]:
        """Classify uploaded files and add them to a run; return the ids of the items.

        The run is one that `runs.create(UPLOAD)` started. An image with the name and content of an item is that one.
        """
        if self.runs.run(run).source["kind"] != "upload":
            raise ReviewError(f"Run {run} is over a folder, so no image can be added. Start another run.")
        received = [self.uploads.received(name, data) for name, data in images]
        items = classify_items(self._classifier, received)
        with self.uploads.alone():
            try:
                for image in received:
                    self.uploads.keep(image)
                return add_items(self.runs, self.drift, run, items)
            except ReviewError:  # such as for a run that was deleted meanwhile
                self.uploads.remove({file_name(image.file) for image in received} - self.runs.uploaded_hashes())
                raise

    def revote(self, run: int) -> Revote:
        """Vote again on all items of a run that nobody decided, by the newest version of the index."""
        with self._lock:
            self._decisions.follow(run, frozenset(self._classifier._current_flow().index.contents.paths))
            flow, votes, not_voted = self._votes(run)
            return self._revoter.store_changes(run, flow, votes, not_voted)

    def page(self, run: int, cursor: str | None = None, limit: int = 20) -> ReviewPage:
        """Return groups of open items, what teaches most first.

        Without a cursor a new order is made of what is open now. The cursor of a page leads to the next groups of the
        same order, whatever was answered meanwhile.
        """
        if limit < 1:
            raise ReviewError(f"A page has at least 1 group, got {limit}.")
        self.runs.run(run)
        return self._queue.page(cursor if cursor is not None else self._queue.keep(run, self._groups(run)), limit)

    def items(self, ids: Sequence[int]) -> list[Item]:
        """Return items, each undecided one with the whole result of the newest version of the index.

        A new vote stores whole results only where the label or the reason changed. Here the numbers and the supporting
        neighbors of the others are brought up to date too, and stored.
        """
        stored = self.runs.items(ids)
        with self._lock:
            flow = self._classifier._current_flow()
            version = flow.index.contents.version
            for run in {item.run for item in stored}:
                old = {item.id for item in stored if item.run == run and item.index_version != version}
                undecided = [item for item in self.runs.undecided(run) if item.id in old]
                self.runs.put_results(run, self._revoter.results(run, flow, undecided))
        return self.runs.items(ids)

    def file_of(self, item: int) -> Place:
        """Return the image file of an item; raise ReviewError where it is gone or has changed."""
        found = self.runs.items([item])[0]
        return file_of_item(self.runs.run(found.run).source, self._folder, found.name, found.content_hash)

    def stopping(self, run: int, target: float | None = None) -> Stopping:
        """Tell how many of the undecided items decide themselves at a target precision, 0 to 1."""
        if target is not None and not 0 < target <= 1:
            raise ReviewError(f"A target precision is above 0 and at most 1, got {target}.")
        with self._lock:
            flow, votes, _ = self._votes(run)
        return stopping(flow, votes.votes, [item.id for item in votes.items], target)

    def accept_rest(self, run: int, target: float | None = None) -> Decided:
        """Accept the results of the open items that decide themselves at a target precision, in one answer.

        Nothing is taught. Where no item can be accepted, the newest answer about the run is returned if it accepted
        some, so that the same request may be sent again; else there is none. Raises ReviewError where the index is not
        calibrated, so that nobody knows how many of the results are right.
        """
        with self._lock:
            self.revote(run)  # what is accepted is the newest result
            advice = self.stopping(run, target)
            if not advice.calibrated:
                raise ReviewError("The index is not calibrated, so the results cannot be accepted. Calibrate it first.")
            answer = self._decisions.take(advice.items, "accept") if advice.items else self.answers.newest(run)
        if answer is not None and answer.kind != "accept":
            answer = None
        return Decided(answer, None, {})

    def teach(self, items: Sequence[int], label: str, vote: bool = True) -> Decided:
        """Add items as examples of a label, in one edit of the index, and vote again on the undecided ones.

        Without `vote` the caller has to call `revote` later, such as a server that answers at once.
        """
        answer, refused = self._decisions.teach(items, label)
        return Decided(answer, self.revote(answer.run) if vote and answer is not None else None, refused)

    def decide(self, items: Sequence[int], kind: AnswerKind) -> Decided:
        """Take another answer than a label.

        That is `unknown`; `skip`; `accept`, which takes the label of the result and teaches nothing; or `not_in_group`,
        after which the items stay open.
        """
        if kind == "label":
            raise ReviewError("A label is needed. Use `teach`.")
        return Decided(self._decisions.take(items, kind), None, {})

    def undo(self, answer: int | None = None, run: int | None = None, vote: bool = True) -> Decided:
        """Take an answer back: the newest one, of a run if given, or this one; `vote` is that of `teach`.

        Raises ReviewError where there is none, or where a later answer decided the same items.
        """
        undone = self._decisions.undo(answer, run)
        return Decided(undone, self.revote(undone.run) if vote else None, {})

    def delete(self, run: int) -> None:
        """Delete a run and the images that were uploaded for it; the examples that it taught stay in the index."""
        delete_runs(self._folder, self.runs, [self.runs.run(run).id])

    def purge(self, before: datetime) -> list[int]:
        """Delete the runs that started before a time, as `delete` does; return their numbers."""
        old = self.runs.started_before(before)
        delete_runs(self._folder, self.runs, old)
        return old

    def close(self) -> None:
        """Close the database; closing it twice is no error."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _votes(self, run: int) -> tuple[Flow, OpenVotes, tuple[int, ...]]:
        self.runs.run(run)
        flow = self._classifier._current_flow()
        return flow, *self._revoter.vote(run, flow)

    def _groups(self, run: int) -> Sequence[Any]:
        with self._lock:
            flow, votes, _ = self._votes(run)
            landscape = self._landscape_of(flow, run)
        return ordered_groups(votes, landscape, flow.thresholds, flow.retriever.calibration.familiarity)

    def _landscape_of(self, flow: Flow, run: int) -> Landscape:
        stamp = flow.index.contents.stamp
        former = self._landscape
        if former is None or former[0] != stamp:
            taught = self.answers.taught_hashes(run)
            self._landscape = stamp, landscape_of(flow, taught, former[1] if former else None)
        assert self._landscape is not None
        return self._landscape[1]
