"""Calibration through the server: a job in the background, thresholds that are stored, and what each would give."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from threading import Event, Thread
from typing import Literal

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.guarantees.threshold_setting import set_thresholds
from lmm_classifier.calibration.hierarchy.level_guarantees import LevelGuarantees, guarantee_levels
from lmm_classifier.calibration.loading import stored_request
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.core.errors import CalibrationError, Cancelled, LmmClassifierError
from lmm_classifier.core.progress import Progress
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.staleness import stale_parts
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.thresholds import Thresholds
from lmm_classifier.server.editing import Editing
from lmm_classifier.server.problems import ProblemError, over_http

logger: logging.Logger = logging.getLogger(__name__)

RATES = tuple(percent / 100 for percent in range(60, 100))  # target precisions and fractions of known images to choose
_VISIBLE = 10.0  # seconds to wait until a calibration counts
_STOPPING = 10.0  # seconds to wait for a job when the server ends


@dataclass
class CalibrationJob:
    """A calibration in the background."""

    number: int
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    state: Literal["running", "done", "failed", "canceled"] = "running"
    progress: Progress | None = None  # of its current step
    error: str = ""  # why it failed


@dataclass(frozen=True)
class CalibrationView:
    """The calibration in use with the index that it answers for, all of one version."""

    state: Literal["current", "stale", "missing"]
    calibration: Calibration  # the stored one, or the one that was fitted when the index was opened
    thresholds: Thresholds
    contents: IndexContents
    notes: Sequence[str]  # why it is stale
    request: CalibrationRequest  # what the stored one was asked for, completed


class Calibrating:
    """Calibrates the index of one server. One job runs at a time.

    Args:
        classifier: answers by the index.
        editing: knows whether this server may change the index.
    """

    def __init__(self, classifier: HybridClassifier, editing: Editing) -> None:
        self._classifier, self._editing = classifier, editing
        self._numbers = itertools.count(1)
        self._stop = Event()
        self._thread: Thread | None = None
        self._guarantees: tuple[bytes, Sequence[LevelGuarantees]] = b"", ()
        self.job: CalibrationJob | None = None  # the last one

    @property
    def is_running(self) -> bool:
        """Return whether a job runs."""
        return self.job is not None and self.job.state == "running"

    @property
    def is_stopping(self) -> bool:
        """Return whether the server ends."""
        return self._stop.is_set()

    def view(self) -> CalibrationView:
        """Return the calibration in use; call it in another thread, because digests are compared."""
        retriever, thresholds = self._classifier.retriever, self._classifier.thresholds
        contents = retriever.index.contents
        parts = stale_parts(contents)
        state: Literal["current", "stale", "missing"] = "stale" if parts or retriever.stored is None else "current"
        if contents.calibration is None:
            state = "missing"
        request = CalibrationRequest().completed(stored_request(contents))
        return CalibrationView(state, retriever.calibration, thresholds, contents, parts, request)

    def guarantees(self, calibration: Calibration, level: float) -> Sequence[LevelGuarantees]:
        """Return the guarantees for each of `RATES`; they are computed once for the same held-out results."""
        results, fit = calibration.held_out, calibration.hierarchy
        digest = blake2b(repr(level).encode(), digest_size=16)
        for array in [*results.to_arrays().values(), *(fit.results.to_arrays().values() if fit else ())]:
            digest.update(array.tobytes())
        if self._guarantees[0] != digest.digest():
            found = [guarantee_levels(results, fit, rate, level) for rate in RATES]
            self._guarantees = digest.digest(), found
        return self._guarantees[1]

    async def store(self, asked: CalibrationRequest) -> None:
        """Store thresholds as `calibrate` would, and wait until they count.

        Raises:
            ProblemError: this server does not change the index, or a job runs.
            CalibrationError: they cannot be guaranteed, or the index must be calibrated first.
        """
        self._require_idle()
        config = self._classifier.config.retrieval
        try:
            await asyncio.to_thread(set_thresholds, config.index_path, config, asked)
        except CalibrationError as error:
            raise type(error)(self._without_paths(error)) from None
        await self._editing.wait()

    def start(self, asked: CalibrationRequest) -> CalibrationJob:
        """Start a job that calibrates the index.

        Raises:
            ProblemError: this server does not change the index, or a job runs.
        """
        self._require_idle()
        self.job = job = CalibrationJob(next(self._numbers))
        self._thread = Thread(target=self._run, args=(job, asked), name="calibrate", daemon=True)
        self._thread.start()
        return job

    def wait(self, timeout: float = 60.0) -> bool:
        """Wait at most `timeout` seconds until no job runs; return whether none does."""
        if self._thread is not None:
            self._thread.join(timeout)
        return not self.is_running

    def stop(self) -> None:
        """Ask the job under way to stop, and return at once; what it did not store is lost, the former one stays."""
        self._stop.set()

    def close(self) -> None:
        """Stop the job under way, and wait for its end."""
        self.stop()
        self.wait(_STOPPING)

    def _run(self, job: CalibrationJob, asked: CalibrationRequest) -> None:
        def report(progress: Progress) -> None:
            if self.is_stopping:
                raise Cancelled
            job.progress = progress

        try:
            config = self._classifier.config
            calibrate_index(config.retrieval.index_path, config, asked, report)
            self._classifier.wait_for_index(_VISIBLE)
            job.state = "done"
        except Cancelled:
            job.state = "canceled"
        except CalibrationError as error:
            job.error, job.state = self._without_paths(error), "failed"
        except LmmClassifierError as error:
            logger.error("The calibration failed: %s: %s", type(error).__name__, error)
            job.error, job.state = "The index cannot be read or changed.", "failed"
        except Exception:
            logger.exception("The calibration failed.")
            job.error, job.state = "The server made a mistake. Its log has the details.", "failed"

    def _require_idle(self) -> None:
        self._editing.require_writer()
        if self.is_running:
            raise ProblemError("calibration-conflict", "A calibration is under way. Wait until it ends.")

    def _without_paths(self, error: CalibrationError) -> str:
        """Return the text of an error with names in the place of folders of this machine."""
        index = self._classifier.index
        text = str(error).replace(str(self._classifier.config.retrieval.index_path), "The index")
        request = stored_request(index.contents)
        for name in ("holdout", "target_images"):
            if (dataset := getattr(request, name, None)) is not None:
                for shown in (str(dataset), str(dataset.fixed()), dataset.source, dataset.fixed().source):
                    text = text.replace(f" {shown}", "")
        return over_http(text)
