"""The audit of the dataset: made in the background, kept, and shown without what was settled since."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Event, Lock, Thread
from typing import Literal

from lmm_classifier.core.errors import CalibrationError, Cancelled, LmmClassifierError
from lmm_classifier.core.progress import Progress
from lmm_classifier.evaluation.audit import audit_opened_index
from lmm_classifier.evaluation.duplicates import Duplicates
from lmm_classifier.evaluation.findings import Audit, LabelIssue, Outlier
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.dismissals import DismissedFindings
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.server.background.stored_examples import NO_AUDIT, are_stored

logger: logging.Logger = logging.getLogger(__name__)

_STOPPING = 10.0  # seconds to wait for an audit when the server ends

Finding = LabelIssue | Duplicates | Outlier
AuditState = Literal["running", "done", "failed", "canceled"]


@dataclass(frozen=True)
class AuditView:
    """The findings that still hold; `audit` has the figures of the version that was audited."""

    state: AuditState
    progress: Progress | None
    error: str  # why the last audit failed
    audit: Audit | None  # None before the first has ended
    audited_version: int | None
    index_version: int
    findings: dict[str, Sequence[Finding]]  # by kind: `label`, `duplicates`, `outlier`
    missing: tuple[str, ...] = ()  # kinds that were not searched to the end in that version

    @property
    def is_current(self) -> bool:
        """Return whether the newest version of the index was audited."""
        return self.audited_version == self.index_version

    def finding(self, kind: str, number: str) -> Finding | None:
        """Return the finding of a kind whose dismissal has this id, None where it holds no more."""
        return next((found for found in self.findings[kind] if found.dismissal.id == number), None)


@dataclass(frozen=True, slots=True)
class Confusion:
    """Another label that a label was confused with, when each example was judged by the others."""

    label: str
    predicted_as: int  # examples of the label that were predicted as the other one
    predicted_from: int  # examples of the other one that were predicted as the label


@dataclass(frozen=True)
class _Held:
    """The findings that hold in one version of the index."""

    audit: Audit | None = None
    stamp: str = ""
    findings: dict[str, Sequence[Finding]] | None = None


class _Run:
    """One audit, under way or ended."""

    def __init__(self) -> None:
        self.stop = Event()
        self.version: int | None = None  # that is audited; None before the index is open
        self.thread: Thread | None = None


class Auditing:
    """Audits the index of one server; one audit runs at a time.

    An audit takes from a second to minutes. It starts when somebody asks for the first time, and again when somebody
    asks for that; edits meanwhile do not start it. What an edit has settled is left out at once. Labels and outliers
    are shown while the duplicates are still searched.
    """

    def __init__(self, classifier: HybridClassifier) -> None:
        self._classifier = classifier
        self._lock, self._closed = Lock(), Event()
        self._run: _Run | None = None
        self._state: AuditState = "done"
        self._progress: Progress | None = None
        self._error = ""
        self._last: tuple[Audit, int] | None = None
        self._missing: tuple[str, ...] = ()
        self._held = _Held()
        self._confusions: tuple[Audit | None, dict[str, list[Confusion]]] = None, {}

    def start(self) -> None:
        """Start an audit of the newest version; one of a former version is stopped, one of this version stays."""
        newest = self._classifier.index_version
        with self._lock:
            former, run = self._run if self._state == "running" else None, _Run()
            if self._closed.is_set() or (former is not None and former.version in (None, newest)):
                return
            self._state, self._error, self._progress, self._run = "running", "", None, run
            run.thread = Thread(target=self._audit, args=(run, former), name="audit", daemon=True)
            run.thread.start()

    def view(self, starts: bool = True) -> AuditView:
        """Return the findings that hold; the first call starts an audit, if it may. Call it in another thread."""
        if starts and self._last is None and self._state == "done":
            self.start()
        contents = self._classifier.index.contents
        with self._lock:
            last, missing, state = self._last, self._missing, self._state
            progress, error = self._progress, self._error
        audit, version = (None, None) if last is None else last
        findings = self._holding(contents, audit)
        return AuditView(state, progress, error, audit, version, contents.version, findings, missing)

    def stop(self) -> None:
        """Ask the audit under way to stop, and start no other; return at once."""
        self._closed.set()
        run = self._run
        if run is not None:
            run.stop.set()

    @property
    def audited_version(self) -> int | None:
        """Return the version of the index that the last audit judged; None before the first. This starts none."""
        return None if self._last is None else self._last[1]

    def confusions(self) -> dict[str, list[Confusion]] | None:
        """Return by label what it was confused with, most often first; None before the first audit."""
        if self._last is None:
            return None
        audit = self._last[0]
        if self._confusions[0] is not audit:
            self._confusions = audit, confusions_of(audit)
        return self._confusions[1]

    def close(self) -> None:
        """Stop the audit under way, and wait for its end."""
        self.stop()
        run = self._run
        if run is not None and run.thread is not None:
            run.thread.join(_STOPPING)

    def _audit(self, run: _Run, former: _Run | None) -> None:
        if former is not None and former.thread is not None:
            former.stop.set()
            former.thread.join()
        state, error = self._audited(run)
        with self._lock:
            if self._run is run:
                self._state, self._error = state, error

    def _audited(self, run: _Run) -> tuple[AuditState, str]:
        """Audit, and return the state after that, with why it failed."""

        def report(progress: Progress) -> None:
            if run.stop.is_set() or self._closed.is_set():
                raise Cancelled
            self._progress = progress

        if are_stored(self._classifier):
            return "failed", NO_AUDIT
        config = self._classifier.config
        try:
            indexes = Index.open_each(config.retrieval.index_path)
            version = run.version = indexes[0].contents.version
            audit = audit_opened_index(
                indexes, config, progress=report, on_labels=lambda labels: self._keep_labels(labels, version)
            )
            with self._lock:
                self._last, self._missing = (audit, version), ()
            return "done", ""
        except Cancelled:
            return "canceled", ""
        except CalibrationError as error:
            return "failed", str(error)
        except LmmClassifierError as error:
            logger.error("The audit failed: %s: %s", type(error).__name__, error)
            return "failed", "The index cannot be read."
        except Exception:
            logger.exception("The audit failed.")
            return "failed", "The server made a mistake. Its log has the details."

    def _keep_labels(self, audit: Audit, version: int) -> None:
        """Show what is known before the duplicates; those of the audit before stay until then, where they hold."""
        with self._lock:
            former = [] if self._last is None else self._last[0].duplicates
            self._last, self._missing = (replace(audit, duplicates=former), version), ("duplicates",)

    def _holding(self, contents: IndexContents, audit: Audit | None) -> dict[str, Sequence[Finding]]:
        held = self._held
        if held.findings is None or held.audit is not audit or held.stamp != contents.stamp or not contents.stamp:
            self._held = held = _Held(audit, contents.stamp, findings_that_hold(audit, contents))
        return held.findings or {}


def findings_that_hold(audit: Audit | None, contents: IndexContents) -> dict[str, Sequence[Finding]]:
    """Return the findings of an audit about examples as they are now, by kind, without the dismissed ones."""
    if audit is None:
        return {"label": (), "duplicates": (), "outlier": ()}
    now = {path: (content, label) for path, content, label in zip(contents.paths, contents.hashes, contents.labels)}
    dismissed = DismissedFindings(contents.dismissals)

    def is_open(finding: Finding) -> bool:
        return not dismissed.cover(finding.dismissal)

    issues = [issue for issue in audit.label_issues if now.get(issue.path) == (issue.content_hash, issue.label)]
    groups = [group for found in audit.duplicates if (group := _remaining(found, now)) is not None]
    outliers = [
        replace(outlier, label=now[outlier.path][1])
        for outlier in audit.outliers
        if now.get(outlier.path, ("",))[0] == outlier.content_hash
    ]
    return {
        "label": [*filter(is_open, issues)],
        "duplicates": [*filter(is_open, groups)],
        "outlier": [*filter(is_open, outliers)],
    }


def confusions_of(audit: Audit) -> dict[str, list[Confusion]]:
    """Return by label what it was confused with, in both directions, most often first."""
    counts = defaultdict[str, defaultdict[str, list[int]]](lambda: defaultdict(lambda: [0, 0]))
    for pair in audit.confusable:
        counts[pair.label][pair.predicted_as][0] = pair.count
        counts[pair.predicted_as][pair.label][1] = pair.count
    return {
        label: sorted((Confusion(name, *both) for name, both in others.items()), key=_most_often)
        for label, others in counts.items()
    }


def _most_often(confusion: Confusion) -> tuple[int, str]:
    return -confusion.predicted_as - confusion.predicted_from, confusion.label


def _remaining(group: Duplicates, now: dict[str, tuple[str, str]]) -> Duplicates | None:
    """Return what is left of a group, with the labels of now; None where it is no group any more."""
    kept = [
        (path, now[path][1], content)
        for path, content in zip(group.paths, group.content_hashes, strict=True)
        if now.get(path, ("",))[0] == content
    ]
    if len(kept) < 2:
        return None
    paths, labels, hashes = zip(*kept)
    return replace(group, paths=paths, labels=labels, content_hashes=hashes)
