"""Figures for Prometheus. No file name is ever a label, and neither is a label of the dataset."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lmm_classifier.batching.statistics import QueueStatistics
from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import QueueFullError

STAGES = ("queue", "decode", "encode", "vote", "rerank", "total")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is read at the moment of a scrape."""

    queue: QueueStatistics
    index_version: int
    index_lag: float
    examples: int
    is_stale: bool
    review_open: int
    drift_log10: float
    drift_alarms: int


class Metrics:
    """The counters of one server.

    Args:
        gauges: reads the present state, None while the server starts.
    """

    def __init__(self, gauges: Callable[[], Gauges | None]) -> None:
        self.registry: CollectorRegistry = CollectorRegistry()
        self.requests: Counter = Counter(
            "lmm_requests", "Requests by the pattern of their address.", ["route", "code"], registry=self.registry
        )
        self.seconds: Histogram = Histogram(
            "lmm_request_seconds",
            "Seconds of answered images in each stage.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.results: Counter = Counter("lmm_results", "Results by their reason.", ["reason"], registry=self.registry)
        self.scores: Histogram = Histogram(
            "lmm_score", "Scores of results.", buckets=[step / 20 for step in range(1, 21)], registry=self.registry
        )
        self.refused: Counter = Counter(
            "lmm_refused",
            "Requests and connections refused, by what was too much.",
            ["why"],
            registry=self.registry,
        )
        self.edits: Counter = Counter(
            "lmm_edits", "Edits of the index through this server.", ["kind"], registry=self.registry
        )
        self._stages = {stage: self.seconds.labels(stage) for stage in STAGES}
        self.registry.register(_State(gauges))

    def count_result(self, result: Classification, stages: Mapping[str, float]) -> None:
        """Count a result, and the seconds of its stages."""
        self.results.labels(result.decision.reason).inc()
        if result.candidates:
            self.scores.observe(result.score)
        for stage, seconds in stages.items():
            self._stages[stage].observe(seconds)

    def count_refusal(self, error: Exception) -> None:
        """Count an error, where it is a refusal by a limit."""
        if isinstance(error, QueueFullError):
            self.refused.labels(error.why).inc()

    def text(self) -> bytes:
        """Return all figures in the text format of Prometheus."""
        return generate_latest(self.registry)


class CountedRequests:
    """Counts each request by the pattern of its address and the status of its answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(route, str(status)).inc()


class _State:
    """Reads the queue and the index when the figures are asked for."""

    def __init__(self, gauges: Callable[[], Gauges | None]) -> None:
        self._gauges = gauges
        self._started = time.time()

    def collect(self) -> Iterable[Metric]:
        """Yield the figures of this moment."""
        gauges = self._gauges()
        if gauges is None:
            return
        queue = gauges.queue
        for name, text, value in (
            ("lmm_queue_depth", "Images that wait for retrieval's answer.", queue.waiting),
            ("lmm_rerank_depth", "Images that wait for the reranker.", queue.reranking),
            ("lmm_queue_bytes", "Bytes of the images that wait.", queue.bytes),
            ("lmm_images_per_second", "Measured rate while images wait; 0 before the first.", queue.rate or 0.0),
            ("lmm_index_version", "Version of the index that answers.", gauges.index_version),
            ("lmm_index_lag_seconds", "Age of the oldest edit that does not count yet.", gauges.index_lag),
            ("lmm_examples", "Examples of the index.", gauges.examples),
            ("lmm_calibration_stale", "1 where parts were fitted to other examples.", float(gauges.is_stale)),
            ("lmm_review_open", "Images of runs that wait for a person.", gauges.review_open),
            ("lmm_drift_log10", "Evidence that the images of the last run changed; alarm from 2.", gauges.drift_log10),
            ("lmm_drift_alarms", "Runs whose images changed, by an alarm of the drift test.", gauges.drift_alarms),
        ):
            yield GaugeMetricFamily(name, text, value)
        ended = CounterMetricFamily("lmm_images", "Images that left the queue, by how.", labels=["end"])
        for kind, count in queue.ended.items():
            ended.add_metric([kind], count)
        yield ended
        yield _batch_sizes(queue.batches)


def _batch_sizes(batches: Mapping[int, int]) -> Metric:
    buckets = [(str(float(limit)), float(sum(n for size, n in batches.items() if size <= limit))) for limit in _BATCHES]
    buckets.append(("+Inf", float(sum(batches.values()))))
    family = HistogramMetricFamily("lmm_batch_size", "Images that were encoded together.")
    family.add_metric([], buckets, float(sum(size * count for size, count in batches.items())))
    return family
