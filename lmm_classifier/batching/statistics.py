"""What a queue counts, for metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock

from lmm_classifier.core.errors import DeadlineError


@dataclass(frozen=True)
class QueueStatistics:
    """The state of a queue at one moment, and what it did since it was made."""

    waiting: int
    """Images that wait for retrieval's answer."""
    reranking: int
    """Images that wait for the reranker."""
    bytes: int
    """Bytes of the submitted images that wait for retrieval's answer."""
    rate: float | None
    """Images answered in a second while some wait; None before the first."""
    ended: Mapping[str, int] = field(default_factory=dict)
    """Images that ended: `answered`, `failed`, `expired` or `cancelled`."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """Images that were not taken: by the `limit`, their `bytes` or their `deadline`."""
    batches: Mapping[int, int] = field(default_factory=dict)
    """How many batches had so many images."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds of all answered images together, for each stage."""


class Counters:
    """The numbers that only grow."""

    def __init__(self) -> None:
        self.ended: Counter[str] = Counter()
        self.batches: Counter[int] = Counter()
        self.seconds: Counter[str] = Counter()
        self._lock = Lock()

    def count_end(self, error: BaseException | None, is_cancelled: bool, stages: Mapping[str, float]) -> None:
        """Count an image that ended."""
        failed = "expired" if isinstance(error, DeadlineError) else "failed"
        kind = "cancelled" if is_cancelled else "answered" if error is None else failed
        with self._lock:
            self.ended[kind] += 1
            if kind == "answered":
                for stage, seconds in stages.items():
                    self.seconds[stage] += seconds  # type: ignore[assignment]

    def count_batch(self, size: int) -> None:
        """Count a batch of the encoder."""
        with self._lock:
            self.batches[size] += 1

    def copies(self) -> tuple[dict[str, int], dict[int, int], dict[str, float]]:
        """Return all numbers: ends, batches, seconds."""
        with self._lock:
            return dict(self.ended), dict(self.batches), dict(self.seconds)
