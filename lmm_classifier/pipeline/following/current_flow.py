"""The flow of the newest version of an index: it is opened when the index changes, and tried again where that fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import Cancelled, ClosedError, ConfigError
from lmm_classifier.core.forking import ForkSafeLock
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.core.reopening import Closable
from lmm_classifier.embeddings.opening import backends_of
from lmm_classifier.index.matching import places_of
from lmm_classifier.index.opening import open_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.index.watcher import IndexWatcher, NoWatcher
from lmm_classifier.pipeline.flow import Flow
from lmm_classifier.pipeline.following.background import BackgroundJob
from lmm_classifier.pipeline.following.pending_change import PendingChange

logger: logging.Logger = logging.getLogger(__name__)

_WAIT = 1.0  # seconds until an unchanged index that could not be opened is tried again; doubled each time
_LONGEST_WAIT = 60.0


class CurrentFlow:
    """Follows the index of `config`; a version that cannot be opened leaves the former one in use.

    The next version is tried as soon as anything changes in the file. Some failures leave no trace there, such as too
    many open files. So an unchanged file is tried again too, at growing intervals.

    By default the first call after a change opens the next version, and the others wait for it. In the background a
    thread does that, and every call returns at once with the version before.
    """

    def __init__(
        self,
        config: PipelineConfig,
        encoders: Sequence[Encoder],
        indexes: Sequence[Index],
        watcher: IndexWatcher | NoWatcher,
    ) -> None:
        """Start with `indexes`, which were opened after `watcher`, so that no change is missed."""
        self._config, self._encoders = config, encoders
        self._flow: Flow | None = Flow.open(config, encoders, matched(indexes, encoders, config))
        self._change = PendingChange(watcher)
        self._background: BackgroundJob | None = None
        self._failures, self._next_try = 0, 0.0
        self._adaptations = list[Callable[[Flow], Flow]]()
        self._refusal: ConfigError | None = None  # why the newest version must not be followed
        self._lock = ForkSafeLock()  # held while a version is opened
        self._swap = ForkSafeLock()  # held while the flow is replaced

    def __call__(self) -> Flow:
        """Return the flow.

        Raises ConfigError if no label of `config.labels` has an example any more, ClosedError after `close`.
        """
        if self._background is not None:
            self._background.ensure_started()
        else:
            with self._lock:
                self._follow_if_changed()
        flow, refusal = self._flow, self._refusal
        if flow is None:
            raise ClosedError("This classifier is closed. Open another one with HybridClassifier(config).")
        if refusal is not None:
            raise refusal
        return flow

    def adapt(self, adaptation: Callable[[Flow], Flow]) -> None:
        """Change the flow, and in the same way those of all later versions; raises ClosedError after `close`."""
        self()
        with self._lock:
            if self._flow is None:
                raise ClosedError("This classifier is closed. Open another one with HybridClassifier(config).")
            flow = adaptation(self._flow)
            with self._swap:
                self._flow = flow if self._flow is not None else None
            self._adaptations.append(adaptation)

    def follow_in_background(self) -> None:
        """Let a thread open the next versions from now on; again is no error."""
        with self._lock:
            if self._flow is not None and self._background is None:
                self._background = BackgroundJob(self._follow_in_background)
                self._background.ensure_started()

    @property
    def in_background(self) -> bool:
        """Whether a thread follows the index."""
        return self._background is not None

    @property
    def lag(self) -> float:
        """Return the seconds since the oldest change of the index that does not count yet; 0 where all count."""
        return self._change.age

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until all that was committed before counts; return whether it does."""
        if self._background is None:
            self()
            return True
        self._background.ensure_started()
        return self._change.wait(timeout)

    def close(self) -> bool:
        """Give back the index and the connections of the reranker; return False where that was done before."""
        background, self._background = self._background, None
        if background is not None:
            background.stop()
        with self._swap:  # not the other lock: a thread that has not ended yet may hold it for long
            flow, self._flow = self._flow, None
        self._change.close()
        if flow is not None and isinstance(flow.reranker, Closable):
            flow.reranker.close()
        return flow is not None

    def _follow_in_background(self) -> None:
        with self._lock:
            self._follow_if_changed()

    def _follow_if_changed(self) -> None:
        is_due = self._failures > 0 and time.monotonic() >= self._next_try
        if self._flow is None or not (self._change.take() or is_due):
            return
        flow = self._follow(self._flow)
        with self._swap:
            self._flow = flow if self._flow is not None else None
        if self._failures == 0:
            self._change.done()

    def _follow(self, former: Flow) -> Flow:
        """Return the flow of the newest version, or `former` where that cannot be opened."""
        wait = min(_WAIT * 2**self._failures, _LONGEST_WAIT)
        self._failures, self._next_try = self._failures + 1, 0.0  # so that a try that is interrupted is repeated
        try:
            newest = self._newest(former)
        except ConfigError as error:  # the former version would answer with removed labels
            self._refusal = error
            self._next_try = time.monotonic() + wait if self._background is not None else 0.0
            return former
        except Cancelled:  # it is being closed
            return former
        except Exception as error:  # noqa: BLE001 - whatever the reason, the former version still answers
            self._next_try = time.monotonic() + wait
            logger.warning(
                "The index changed and cannot be opened. Answers come from the former version %d with %d examples. It "
                "is tried again when the index changes, or in %g seconds. %s",
                former.index.contents.version,
                len(former.index),
                wait,
                error,
            )
            return former
        self._failures, self._refusal = 0, None
        return newest

    def _newest(self, former: Flow) -> Flow:
        settings = self._config.retrieval
        indexes = open_index(settings, backends_of(self._config.encoders, self._encoders))
        index = indexes[0]
        if index.contents.stamp == former.index.contents.stamp:
            return former
        indexes = matched(indexes, self._encoders, self._config)
        config, background = self._with_existing_labels(index), self._background
        # only in the background: otherwise an answer would depend on the edits that the classifier saw
        progress, carry = (None, False) if background is None else (background.check, True)
        newest = Flow.open(config, self._encoders, indexes, former, progress, carry)
        for adaptation in self._adaptations:
            newest = adaptation(newest)
        if background is not None:
            newest.warm_up()
        logger.info("The index changed: version %d, %d examples.", index.contents.version, len(index))
        return newest

    def _with_existing_labels(self, index: Index) -> PipelineConfig:
        """Return the configuration without the labels that lost their last example while the classifier runs."""
        missing = index.missing_labels(self._config.labels or ())
        if not missing:
            return self._config
        remaining = [label for label in self._config.labels or () if label not in missing]
        if remaining:
            logger.warning(
                "No example of %s is left in the index, so these labels are not answered until there is one again.",
                ", ".join(map(repr, missing)),
            )
        # with none left, opening raises the error that names them
        return self._config.model_copy(update={"labels": remaining or self._config.labels})


def matched(indexes: Sequence[Index], encoders: Sequence[Encoder], config: PipelineConfig) -> tuple[Index, ...]:
    """Return the index with the vectors of each encoder; raise IndexMismatchError where it has none of one."""
    fingerprints, source = [encoder.fingerprint for encoder in encoders], str(config.retrieval.index_path)
    return tuple(indexes[place] for place in places_of(indexes[0].manifest, fingerprints, source))
