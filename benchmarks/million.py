"""A million examples: exact search, the durable index, its calibration, and whole answers with and without a graph.

Takes 10 GB of memory, 17 GB of disk and half an hour. The vectors are drawn: 5,000 labels of 200 rows each, with a
cosine of about 0.5 within a label.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any, Literal

import numpy as np

from benchmarks.rows import Row, where, write_rows
from benchmarks.side_by_side import Times, in_turns, ratio
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Fingerprint
from lmm_classifier.core.protocols import FloatArray
from lmm_classifier.index.contents import Contents
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.hnsw import FILE
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.storage.snapshot import FOLDER
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.neighbors.brute_force import NearestRows
from lmm_classifier.pipeline.calibrator import Wish, calibrate
from lmm_classifier.pipeline.retriever import Retriever

COMMAND = "python -m benchmarks.performance --only million"
DIM, K = 1152, 10
_OF_A_LABEL = 200
_BLOCK = 8192
_LIST = 500  # as the retriever asks for


class _Made:
    """The rows (count, DIM), block by block, and queries like them."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        self.count = count
        self._centres = (rng.normal(size=(count // _OF_A_LABEL, DIM)) / DIM**0.5).astype(np.float32)

    def blocks(self) -> Iterator[FloatArray]:
        for start in range(0, self.count, _BLOCK):
            labels = np.arange(start, min(self.count, start + _BLOCK)) // _OF_A_LABEL
            yield self._like(labels, np.random.default_rng((1, start)))

    def queries(self, count: int) -> FloatArray:
        rng = np.random.default_rng(2)
        return self._like(rng.integers(0, len(self._centres), count), rng)

    def _like(self, labels: Any, rng: np.random.Generator) -> FloatArray:
        rows = rng.normal(size=(len(labels), DIM)).astype(np.float32) / np.float32(DIM**0.5) + self._centres[labels]
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)

    def contents(self) -> Contents:
        labels = [f"label{row // _OF_A_LABEL:05}" for row in range(self.count)]
        return Contents(
            Manifest(
                Fingerprint("given", "vectors", "1", "none", DIM, "float32"),
                "identity",
                self.count,
                "corpus",
                "2026-01-01",
                "0",
            ),
            labels,
            [f"{label}/{row:07}.jpg" for row, label in enumerate(labels)],
            [f"{row:064x}" for row in range(self.count)],
            {},
            self.blocks,
        )


def rows(quick: bool = False) -> list[Row]:
    """Everything of an index of a million rows (20,000 to try it out)."""
    made = _Made(20_000 if quick else 1_000_000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        write_index(path, made.contents())
        ExactIndex.open(path)  # makes the derived files
        parts = (index_rows, search_rows, calibration_rows, answer_rows)
        return [row for part in parts for row in part(path, made)]


def _named(made: _Made) -> Callable[..., Row]:
    def row(
        name: str,
        value: float,
        unit: str,
        against: str = "",
        spread: str = "",
        better: Literal["higher", "lower"] = "lower",
    ) -> Row:
        full = f"{made.count:,} x {DIM}{name}"
        said = where("faiss-cpu", "onnxruntime")
        return Row(full, round(value, 3), unit, None, better, against, said, COMMAND, spread)

    return row


def index_rows(path: Path, made: _Made) -> list[Row]:
    """Opening the durable index, and its first search, which checks the matrix on disk."""
    row = _named(made)
    times = in_turns({"open": lambda: ExactIndex.open(path)}, 5)
    index, started = ExactIndex.open(path), time.perf_counter()
    index.search(made.queries(1), K)
    first = time.perf_counter() - started
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e9
    return [
        row(": durable index, opened in", 1000 * times["open"].median, "ms"),
        row(": durable index, first search", first, "s", "checks the matrix and makes the 8-bit one"),
        row(": durable index, on disk", size, "GB", "vectors and derived matrix"),
    ]


def search_rows(path: Path, made: _Made) -> list[Row]:
    """Memory and latency of the exact search of the nearest."""
    row, units, queries = _named(made), ExactIndex.open(path).gallery.units, made.queries(256)
    before, started = _private_mb(), time.perf_counter()
    search = NearestRows(units)
    ready = time.perf_counter() - started
    jobs = {"1": lambda: search.search(queries[:1], K), "256": lambda: search.search(queries, K)}
    times = in_turns(jobs, 5)
    return [
        row(", search: memory", _private_mb() - before, "MB", "beside the vectors, which stay on disk"),
        row(", search: made ready in", ready, "s"),
        *(row(f", search: batch {batch}", *_each(one, int(batch))) for batch, one in times.items()),
    ]


def calibration_rows(path: Path, made: _Made) -> list[Row]:
    """What `calibrate` takes, once."""
    row, started = _named(made), time.perf_counter()
    with _peak_mb() as peak:
        outcome = calibrate(path, _config(path, "exact"), Wish())
    seconds = time.perf_counter() - started
    against = f"{len(outcome.left_out.rows):,} examples left out, {made.count // _OF_A_LABEL:,} labels"
    return [
        row(": calibrating", seconds, "s", against),
        row(": calibrating, memory", peak[0], "MB", "at most, beside the vectors, which stay on disk"),
    ]


def answer_rows(path: Path, made: _Made) -> list[Row]:
    """From vectors to votes: comparing with everything, and with what the graph lists."""
    row, queries, found, ready = _named(made), made.queries(256), [], {}
    for search in ("exact", "ann"):
        config = _config(path, search)
        if search == "ann":
            started = time.perf_counter()
            made_now = Retriever(config.retrieval, ExactIndex.open(path))
            found.append(row(", graph: made in", time.perf_counter() - started, "s", "with opening, once"))
            size = (path / FOLDER / FILE).stat().st_size / 1e9
            found.append(row(", graph: on disk, and in memory", size, "GB"))
            assert made_now._graph is not None
            listed = made_now._graph.search(queries, _LIST)
            best = NearestRows(made_now.index.gallery.units).search(queries, K)[0]
            recall = float(np.mean([np.isin(one, mine).mean() for one, mine in zip(best, listed)]))
            found.append(row(f", graph: of the ten nearest in a list of {_LIST}", recall, "", better="higher"))
            near = [made_now.votes(some).comparison.nearest_each(K)[0] for some in np.split(queries, 8)]
            recall = float(np.mean([np.isin(one, mine).mean() for one, mine in zip(best, np.concatenate(near))]))
            found.append(row(", votes, ann: of the ten nearest found", recall, "", better="higher"))
            del made_now, listed
        started = time.perf_counter()
        retriever = Retriever(config.retrieval, ExactIndex.open(path))
        opened = time.perf_counter() - started
        retriever.votes(queries[:1])
        first = time.perf_counter() - started
        ready[search] = retriever
        found.append(row(f", votes, {search}: opened in", opened, "s", "calibrated before"))
        found.append(row(f", votes, {search}: first picture after", first, "s", "from the start of opening"))
    for batch in (1, 64):
        some = queries[:batch]
        times = in_turns({name: lambda one=one, some=some: _votes(one, some) for name, one in ready.items()}, 5)
        for name, one in times.items():
            found.append(row(f", votes, {name}: batch {batch}", *_each(one, batch)))
        value, spread = ratio(times["exact"], times["ann"])
        found.append(row(f", votes, batch {batch}: graph faster by", value, "x", "", spread, "higher"))
    one, other = (_votes(ready[name], queries).argmax(axis=1) for name in ready)
    same = float((one == other).mean())
    return [*found, row(", votes: the same label by graph", 100 * same, "%", "of 256 queries", better="higher")]


def _votes(retriever: Retriever, queries: FloatArray) -> Any:
    at_once = min(retriever.queries_at_once, 64)
    parts = [retriever.votes(queries[start : start + at_once]) for start in range(0, len(queries), at_once)]
    return np.concatenate([part.scores for part in parts])


def _config(path: Path, search: str) -> PipelineConfig:
    said = {"rerank": {"enabled": False}, "retrieval": {"index_path": str(path), "search": search}}
    return PipelineConfig.model_validate(said)


def _each(times: Times, batch: int) -> tuple[float, str, str, str]:
    """Milliseconds per query, their unit, nothing to compare with, and the spread."""
    low, high = (1000 * one(times.seconds) / batch for one in (min, max))
    return 1000 * times.median / batch, "ms per query", "", f"{low:.3g} to {high:.3g}"


def _private_mb() -> float:
    """Memory of this process that is not mapped from a file."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1000


@contextmanager
def _peak_mb() -> Iterator[list[float]]:
    """The most memory above that at the start, looked at ten times a second."""
    before, peak, stop = _private_mb(), [0.0], Event()

    def look() -> None:
        while not stop.wait(0.1):
            peak[0] = max(peak[0], _private_mb() - before)

    thread = Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


if __name__ == "__main__":
    write_rows("million", rows())
