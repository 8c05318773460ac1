"""A million examples: exact search, the durable index, its calibration, and classification with and without a graph.

Takes 10 GB of memory, 17 GB of disk and half an hour. The vectors are random: 5,000 labels of 200 rows each, with a
cosine of about 0.5 within a label.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np

from benchmarks.rows import Better, Row, run_part, where
from benchmarks.side_by_side import Times, in_turns, ratio, value_range
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.index.contents import EncoderVectors, IndexContents
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.hnsw import FILE
from lmm_classifier.index.manifest import EncoderEntry, Manifest
from lmm_classifier.index.storage.snapshot import FOLDER
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.brute_force import BruteForceSearch
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retriever import Retriever

COMMAND = "python -m benchmarks.performance --only million"
DIM, K = 1152, 10
_ROWS_PER_LABEL = 200
_BLOCK = 8192
_LIST = 500  # rows that the retriever asks the graph for


class _RandomDataset:
    """Random rows (count, DIM), block by block, and queries like them."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        self.count = count
        self.labels = count // _ROWS_PER_LABEL
        self._centers = (rng.normal(size=(self.labels, DIM)) / DIM**0.5).astype(np.float32)

    def blocks(self) -> Iterator[Float32Array]:
        for start in range(0, self.count, _BLOCK):
            labels = np.arange(start, min(self.count, start + _BLOCK)) // _ROWS_PER_LABEL
            yield self._near(labels, np.random.default_rng((1, start)))

    def queries(self, count: int) -> Float32Array:
        rng = np.random.default_rng(2)
        return self._near(rng.integers(0, self.labels, count), rng)

    def _near(self, labels: Any, rng: np.random.Generator) -> Float32Array:
        rows = rng.normal(size=(len(labels), DIM)).astype(np.float32) / np.float32(DIM**0.5) + self._centers[labels]
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)

    def contents(self) -> IndexContents:
        labels = [f"label{row // _ROWS_PER_LABEL:05}" for row in range(self.count)]
        fingerprint = Fingerprint("given", "vectors", "1", "none", DIM, "float32")
        return IndexContents(
            Manifest((EncoderEntry(fingerprint, "identity"),), self.count, "dataset", "2026-01-01", "0"),
            labels,
            [f"{label}/{row:07}.jpg" for row, label in enumerate(labels)],
            [f"{row:064x}" for row in range(self.count)],
            (EncoderVectors({}, self.blocks),),
        )

    def row(
        self, name: str, value: float, unit: str, against: str = "", spread: str = "", better: Better = "lower"
    ) -> Row:
        full_name, place = f"{self.count:,} x {DIM}, {name}", where("faiss-cpu", "onnxruntime")
        return Row(full_name, round(value, 3), unit, None, better, against, place, COMMAND, spread)

    def time_row(self, name: str, times: Times, batch: int) -> Row:
        """Return a row with the milliseconds per query."""
        milliseconds = [1000 * seconds / batch for seconds in times.seconds]
        full_name = f"{name}, batch {batch}"
        return self.row(full_name, 1000 * times.median / batch, "ms per query", spread=value_range(milliseconds))


def rows(quick: bool = False) -> list[Row]:
    """Measure an index of a million rows (20,000 with `quick`)."""
    dataset = _RandomDataset(20_000 if quick else 1_000_000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        write_index(path, dataset.contents())
        Index.open(path)  # makes the derived files
        parts = (index_rows, search_rows, calibration_rows, retrieval_rows)
        return [row for part in parts for row in part(path, dataset)]


def index_rows(path: Path, dataset: _RandomDataset) -> list[Row]:
    """Open the durable index, and search it for the first time, which checks the matrix on disk."""
    times = in_turns({"open": lambda: Index.open(path)}, 5)
    index, started = Index.open(path), time.perf_counter()
    index.search(dataset.queries(1), K)
    first_search = time.perf_counter() - started
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e9
    note = "includes checking the matrix and computing the 8-bit one"
    return [
        dataset.row("durable index: opening time", 1000 * times["open"].median, "ms"),
        dataset.row("durable index: first search", first_search, "s", note),
        dataset.row("durable index: size on disk", size, "GB", "vectors and derived matrix"),
    ]


def search_rows(path: Path, dataset: _RandomDataset) -> list[Row]:
    """Measure memory and latency of the exact search."""
    embeddings, queries = Index.open(path).gallery.embeddings, dataset.queries(256)
    memory_before, started = _private_mb(), time.perf_counter()
    search = BruteForceSearch(embeddings)
    preparation = time.perf_counter() - started
    times = in_turns({str(batch): partial(search.search, queries[:batch], K) for batch in (1, 256)}, 5)
    memory = _private_mb() - memory_before
    return [
        dataset.row("exact search: memory", memory, "MB", "in addition to the vectors, which stay on disk"),
        dataset.row("exact search: preparation", preparation, "s"),
        *(dataset.time_row("exact search", times_of_batch, int(batch)) for batch, times_of_batch in times.items()),
    ]


def calibration_rows(path: Path, dataset: _RandomDataset) -> list[Row]:
    """Calibrate the index once."""
    started = time.perf_counter()
    with _peak_mb() as peak:
        report = calibrate_index(path, _config(path, "exact"), CalibrationRequest())
    seconds = time.perf_counter() - started
    against = f"{len(report.calibration.held_out):,} examples left out, {dataset.labels:,} labels"
    note = "peak, in addition to the vectors, which stay on disk"
    return [
        dataset.row("calibration: time", seconds, "s", against),
        dataset.row("calibration: memory", peak[0], "MB", note),
    ]


def retrieval_rows(path: Path, dataset: _RandomDataset) -> list[Row]:
    """From vectors to scores: comparing with all rows, and with those that the graph lists."""
    exact_rows, exact = opening_rows(path, "exact", dataset)
    graph = graph_rows(path, dataset)
    ann_rows, ann = opening_rows(path, "ann", dataset)
    measured, queries = [*exact_rows, *graph, *ann_rows], dataset.queries(256)
    for batch in (1, 64):
        some = queries[:batch]
        times = in_turns({"exact": partial(_scores, exact, some), "ann": partial(_scores, ann, some)}, 5)
        measured += [dataset.time_row(f"retrieval, {search}", times[search], batch) for search in times]
        value, spread = ratio(times["exact"], times["ann"])
        name = f"retrieval, batch {batch}: speed of ann relative to exact"
        measured.append(dataset.row(name, value, "x", "", spread, "higher"))
    same = _scores(exact, queries).argmax(axis=1) == _scores(ann, queries).argmax(axis=1)
    name = "retrieval: same label by ann and exact"
    return [*measured, dataset.row(name, 100 * float(same.mean()), "%", "of 256 queries", better="higher")]


def opening_rows(path: Path, search: str, dataset: _RandomDataset) -> tuple[list[Row], Retriever]:
    """Open the calibrated index, and score one query."""
    started = time.perf_counter()
    retriever = _open_retriever(path, search)
    opening = time.perf_counter() - started
    retriever.score(QueryVectors.given(dataset.queries(1)))
    first_result = time.perf_counter() - started
    name = f"retrieval, {search}"
    return [
        dataset.row(f"{name}: opening time", opening, "s", "calibrated before"),
        dataset.row(f"{name}: time to the first result", first_result, "s", "from the start of opening"),
    ], retriever


def graph_rows(path: Path, dataset: _RandomDataset) -> list[Row]:
    """Build the graph, and measure its recall alone and with the rows that are compared in addition."""
    started = time.perf_counter()
    retriever = _open_retriever(path, "ann")
    seconds = time.perf_counter() - started
    (encoder,) = retriever.encoders
    assert encoder.graph is not None
    size = (path / FOLDER / FILE.format(encoder=encoder.index.fingerprint.space_id)).stat().st_size / 1e9
    queries = dataset.queries(256)
    best = BruteForceSearch(retriever.index.gallery.embeddings).search(queries, K)[0]
    listed = encoder.graph.search(queries, _LIST)
    parts = np.split(queries, 8)
    nearest = np.concatenate([encoder.score(part, []).similarities.nearest_each(K)[0] for part in parts])
    return [
        dataset.row("graph: time to build", seconds, "s", "includes opening, once"),
        dataset.row("graph: size on disk and in memory", size, "GB"),
        dataset.row(f"graph: recall at {K} of a list of {_LIST}", _recall(best, listed), "", better="higher"),
        dataset.row(f"retrieval, ann: recall at {K}", _recall(best, nearest), "", better="higher"),
    ]


def _recall(best: IntArray, nearest: IntArray) -> float:
    return float(np.mean([np.isin(expected, rows).mean() for expected, rows in zip(best, nearest)]))


def _scores(retriever: Retriever, queries: Float32Array) -> Float64Array:
    return np.concatenate(
        [part.log_probabilities for _, part in retriever.score_in_batches(QueryVectors.given(queries))]
    )


def _open_retriever(path: Path, search: str) -> Retriever:
    return Retriever.open(_config(path, search).retrieval, [Index.open(path)])


def _config(path: Path, search: str) -> PipelineConfig:
    settings = {"rerank": {"enabled": False}, "retrieval": {"index_path": str(path), "search": search}}
    return PipelineConfig.model_validate(settings)


def _private_mb() -> float:
    """Return the memory of this process that is not mapped from a file."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1000


@contextmanager
def _peak_mb() -> Iterator[list[float]]:
    """Yield a list with the peak memory above that at the start, sampled ten times a second."""
    memory_before, peak, stop = _private_mb(), [0.0], Event()

    def sample() -> None:
        while not stop.wait(0.1):
            peak[0] = max(peak[0], _private_mb() - memory_before)

    thread = Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


if __name__ == "__main__":
    run_part("million", __doc__, rows)
