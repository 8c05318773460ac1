"""How long a server keeps edits that can be undone, and runs with their answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.storage.editing.purge import PurgeReport
from lmm_classifier.review.reviewer import Reviewer


@dataclass(frozen=True)
class Expired:
    """What was deleted because it was too old."""

    edits: PurgeReport | None  # None: edits are kept
    runs: tuple[int, ...]  # numbers of the deleted runs


def delete_expired(
    editor: IndexEditor,
    reviewer: Reviewer,
    edit_days: float | None,
    run_days: float | None,
    now: datetime | None = None,
) -> Expired:
    """Delete what is older than a number of days; None keeps everything.

    Args:
        editor: forgets old edits, which cannot be undone then, and deletes their images in the trash.
        reviewer: deletes runs that started before, with their results, vectors, answers and uploaded images.
        edit_days: age of edits, at least 0.
        run_days: age of runs, at least 0.
        now: the time from which the age counts; the current time by default.
    """
    now = now or datetime.now(UTC)
    edits = None if edit_days is None else editor.purge(now - timedelta(days=edit_days))
    runs = () if run_days is None else tuple(reviewer.purge(now - timedelta(days=run_days)))
    return Expired(edits, runs)
