"""The audit of the dataset: made in the background, kept, and shown without what was settled since."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Event, Lock, Thread
from typing import Literal

from lmm_classifier.core.errors import CalibrationError, Cancelled, LmmClassifierError
from lmm_classifier.core.paths import expand_home
from lmm_classifier.core.progress import Progress
from lmm_classifier.evaluation.audit import Audit, LabelIssue, Outlier, audit_opened_index
from lmm_classifier.evaluation.duplicates import Duplicates
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.dismissals import DismissedFindings
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.pipeline.classifier import HybridClassifier

logger = logging.getLogger(__name__)

_STOPPING = 10.0  # seconds to wait for an audit when the server ends

Finding = LabelIssue | Duplicates | Outlier


@dataclass(frozen=True)
class AuditView:
    """The findings that still hold; `audit` has the figures of the version that was audited."""

    state: Literal["running", "done", "failed", "canceled"]
    progress: Progress | None
    error: str  # why the last audit failed
    audit: Audit | None  # None before the first has ended
    audited_version: int | None
    index_version: int
    findings: dict[str, Sequence[Finding]]  # by kind: `label`, `duplicates`, `outlier`

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


class Auditing:
    """Audits the index of one server; one audit runs at a time.

    An audit takes from a second to minutes. It starts when somebody asks for the first time, and again when somebody
    asks for that; edits meanwhile do not start it. What an edit has settled is left out at once.
    """

    def __init__(self, classifier: HybridClassifier) -> None:
        self._classifier = classifier
        self._lock, self._stop = Lock(), Event()
        self._thread: Thread | None = None
        self._state: Literal["running", "done", "failed", "canceled"] = "done"
        self._progress: Progress | None = None
        self._error = ""
        self._last: tuple[Audit, int] | None = None
        self._held = _Held()
        self._confusions: tuple[Audit | None, dict[str, list[Confusion]]] = None, {}

    def start(self) -> None:
        """Start an audit, unless one runs."""
        with self._lock:
            if self._state == "running" or self._stop.is_set():
                return
            self._state, self._error, self._progress = "running", "", None
            self._thread = Thread(target=self._run, name="audit", daemon=True)
            self._thread.start()

    def view(self, starts: bool = True) -> AuditView:
        """Return the findings that hold; the first call starts an audit, if it may. Call it in another thread."""
        if starts and self._last is None and self._state == "done":
            self.start()
        contents = self._classifier.index.contents
        last = self._last
        held = self._holding(contents, None if last is None else last[0])
        return AuditView(
            self._state,
            self._progress,
            self._error,
            None if last is None else last[0],
            None if last is None else last[1],
            contents.version,
            held,
        )

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
        """Stop the audit under way."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_STOPPING)

    def _run(self) -> None:
        def report(progress: Progress) -> None:
            if self._stop.is_set():
                raise Cancelled
            self._progress = progress

        config = self._classifier.config
        try:
            indexes = ExactIndex.open_each(expand_home(config.retrieval.index_path))
            audit = audit_opened_index(indexes, config, progress=report)
            self._last = audit, indexes[0].contents.version
            self._state = "done"
        except Cancelled:
            self._state = "canceled"
        except CalibrationError as error:
            self._error, self._state = str(error), "failed"
        except LmmClassifierError as error:
            logger.error("The audit failed: %s: %s", type(error).__name__, error)
            self._error, self._state = "The index cannot be read.", "failed"
        except Exception:
            logger.exception("The audit failed.")
            self._error, self._state = "The server made a mistake. Its log has the details.", "failed"

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
