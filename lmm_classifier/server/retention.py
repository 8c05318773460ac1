"""How long a server keeps edits that can be undone, and runs with their answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from lmm_classifier.core.errors import LmmClassifierError
from lmm_classifier.index.storage.editing.purge import PurgeReport
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.server.config import ServerConfig
from lmm_classifier.server.editing import Editing
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.reviewing.reviews import Reviewing

logger: logging.Logger = logging.getLogger(__name__)

_EVERY = 24 * 3600  # seconds


class Retention:
    """Deletes what is older than `server.keep_edits_days` and `server.keep_runs_days`; null keeps everything.

    Args:
        settings: with these days.
        classifier: has the index.
        editing: forgets edits.
        reviews: deletes runs.
        on_deleted: called after edits were forgotten, with the images of the trash.
    """

    def __init__(
        self,
        settings: ServerConfig,
        classifier: HybridClassifier,
        editing: Editing,
        reviews: Reviewing,
        on_deleted: Callable[[], object],
    ) -> None:
        self._edit_days, self._run_days = settings.keep_edits_days, settings.keep_runs_days
        self._classifier, self._editing, self._reviews = classifier, editing, reviews
        self._on_deleted = on_deleted

    async def watch(self) -> None:
        """Delete what is too old now and once a day, until it is cancelled."""
        if (self._edit_days is None and self._run_days is None) or self._editing.why_not:
            return
        while True:
            try:
                await self.delete_expired(datetime.now(UTC))
            except (LmmClassifierError, ProblemError, OSError) as error:
                logger.warning("What is too old could not be deleted, and is tried again in a day: %s", error)
            await asyncio.sleep(_EVERY)

    async def delete_expired(self, now: datetime) -> None:
        """Delete what is too old at a time; a run under way is stopped first."""
        if self._edit_days is not None:
            purged = await self._editing.in_turn(lambda: self._purge(now))
            self._on_deleted()
            logger.info("%d edits and %d images of the trash were too old.", purged.edits, purged.images)
        if self._run_days is not None:
            before = now - timedelta(days=self._run_days)
            runs = await asyncio.to_thread(self._reviews.reviewer.runs.started_before, before)
            for run in runs:
                await asyncio.to_thread(self._reviews.delete, run)
            logger.info("%d runs were too old.", len(runs))

    def _purge(self, now: datetime) -> PurgeReport:
        assert self._edit_days is not None
        return self._classifier.editor().purge(now - timedelta(days=self._edit_days))
