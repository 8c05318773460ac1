"""Answers and calibrations through a store of rows, next to exact ones: `python -m benchmarks.scale_sparse`.

Drawn rows, and the vectors of real images where an index of them is given. Each data set is drawn twice: the first
draw is calibrated, the second tells whether the guarantee holds and whether both answer alike.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.guarantees.risk_control import RiskGuarantee, fixed_sequence_threshold
from lmm_classifier.calibration.sparse.sampling import LowestContents, rows_through_shortlist
from lmm_classifier.calibration.sparse.store_fit import StoreFitting, fit_through_stores
from lmm_classifier.core.numerics import log_softmax
from lmm_classifier.index.backends.memory_rows import MemoryRowStore
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gathering.reading import ReadingLimits
from lmm_classifier.neighbors.gathering.store_similarities import StoreComparison
from lmm_classifier.neighbors.metric import gallery_in_metric
from lmm_classifier.neighbors.novelty import NEIGHBORS, signals_with_neighbors

RESULTS = Path(__file__).parent / "results" / "scale_sparse.json"
PRECISION, CONFIDENCE = 0.98, 0.9
Vectors = NDArray[np.float32]
T = TypeVar("T")

# name -> labels, looks of a label, rows of a label, numbers in a row, noise, distance between labels, exact as well
DRAWN: dict[str, tuple[int, int, int, int, float, float, bool]] = {
    "250 labels of four looks": (250, 4, 120, 1152, 2.2, 0.5, True),
    "1,000 labels of one look": (1000, 1, 30, 1152, 2.6, 0.3, True),
    "250 labels of four looks, hard": (250, 4, 120, 256, 2.2, 0.3, True),
    "1,000 labels of one look, hard": (1000, 1, 30, 256, 2.2, 0.3, True),
    "100,000 labels": (100_000, 1, 3, 256, 1.0, 0.3, False),
}


def drawn(
    labels: int, looks: int, each: int, width: int, noise: float, apart: float, part: int = 0
) -> tuple[Vectors, NDArray[np.int64]]:
    """Return normalized rows and labels; every part has other rows of the same looks, whose spectrum is a power law."""
    base, draw = np.random.default_rng(0), np.random.default_rng((1, part))
    spectrum = np.arange(1, width + 1) ** -0.5
    spectrum /= np.sqrt(np.square(spectrum).sum())
    centers = base.normal(size=(labels, looks, width)) + apart * base.normal(size=(labels, 1, width))
    label_ids = np.repeat(np.arange(labels), each)
    rows = np.empty((len(label_ids), width), np.float32)
    for start in range(0, len(rows), 8192):
        ids = label_ids[start : start + 8192]
        block = centers[ids, draw.integers(0, looks, len(ids))] + noise * draw.normal(size=(len(ids), width))
        block *= spectrum
        rows[start : start + 8192] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return rows, label_ids


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return a result and the CPU seconds that it took."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def answers_of_store(
    calibration: Calibration, store: MemoryRowStore, queries: Vectors, limits: ReadingLimits
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return log-probabilities (n, C) and familiarity (n,)."""
    fit = calibration.fits[0]
    means = store.means if fit.means is None else fit.means
    metric = fit.rule.metric
    rows = store.with_norms(metric.digest, metric.norms, store=False)
    comparison = StoreComparison(rows, metric, means, True, limits, fit.unread)
    logs, familiarity = [], []
    for start in range(0, len(queries), comparison.queries_at_once):
        plain, mapped = comparison.compare(queries[start : start + comparison.queries_at_once])
        logs.append(log_softmax(fit.rule.scores(plain, mapped, plain.embeddings) / fit.rule.temperature))
        signals = signals_with_neighbors(
            plain.labels_of_nearest(NEIGHBORS), plain, mapped, fit.familiarity.knn_distance
        )
        familiarity.append(fit.familiarity.of_signals(signals))
    return np.concatenate(logs), np.concatenate(familiarity)


def answers_of_index(
    calibration: Calibration, index: Index, queries: Vectors
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the same by a comparison with all rows."""
    fit, logs, familiarity = calibration.fits[0], [], []
    in_metric = gallery_in_metric(fit.rule.metric, index.gallery, fit.norms)
    for start in range(0, len(queries), 256):
        plain = index.gallery.compare(queries[start : start + 256])
        mapped = in_metric.compare(fit.rule.metric.whiten(plain.embeddings))
        logs.append(log_softmax(fit.rule.scores(plain, mapped, plain.embeddings) / fit.rule.temperature))
        familiarity.append(fit.familiarity.of(plain, mapped))
    return np.concatenate(logs), np.concatenate(familiarity)


def guarantee(calibration: Calibration, logs: NDArray[np.float64], label_ids: NDArray[np.int64]) -> dict[str, float]:
    """Return the threshold for the target precision, and the precision above it on the second draw."""
    held_out = calibration.held_out
    found = fixed_sequence_threshold(held_out.confidence, held_out.correct, 1 - PRECISION, 1 - CONFIDENCE)
    threshold = found.threshold if isinstance(found, RiskGuarantee) else 2.0
    accepted = np.exp(logs.max(axis=1)) >= threshold
    right = logs.argmax(axis=1) == label_ids
    return {
        "threshold": float(threshold),
        "accepted": float(accepted.mean()),
        "precision": float(right[accepted].mean()) if accepted.any() else 1.0,
        "accuracy": float(right.mean()),
    }


def measure(
    rows: Vectors,
    names: list[str],
    queries: Vectors,
    truth: NDArray[np.int64],
    exactly: bool,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Calibrate and answer through a store, and exactly where that is possible."""
    most, limits = options.most, ReadingLimits()
    if options.labels is not None:
        limits = ReadingLimits(likely=max(options.labels // 3, 1), labels=options.labels)
    config = RetrievalConfig()
    index = Index.from_vectors(rows, names)
    store = MemoryRowStore(index)
    (calibration, _), cpu = timed(lambda: fit_through_stores(config, [store], StoreFitting(limits, most)))
    (logs, familiarity), cpu_of_answers = timed(lambda: answers_of_store(calibration, store, queries, limits))
    report: dict[str, Any] = {
        "rows": len(rows),
        "labels": len(set(names)),
        "examples left out": len(calibration.held_out),
        "calibration, CPU s": round(cpu, 1),
        "answer, CPU ms": round(1000 * cpu_of_answers / len(queries), 2),
        "memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "left out": {"accuracy": calibration.held_out.accuracy, "confidence": calibration.held_out.confidence.mean()},
        "store": guarantee(calibration, logs, truth),
        "familiarity, second draw": familiarity.mean(),
    }
    if exactly:  # on the same examples, so that only the comparison differs
        sampled = LowestContents(rows_through_shortlist(len(set(names))) if most is None else most)
        (exact, _), cpu = timed(lambda: fit_by_leave_one_out(config, [index], sampled))
        (expected, familiar), cpu_of_answers = timed(lambda: answers_of_index(exact, index, queries))
        difference = np.abs(np.exp(logs.max(axis=1)) - np.exp(expected.max(axis=1)))
        report |= {
            "exact": guarantee(exact, expected, truth),
            "exact calibration, CPU s": round(cpu, 1),
            "exact answer, CPU ms": round(1000 * cpu_of_answers / len(queries), 2),
            "same answer": (logs.argmax(axis=1) == expected.argmax(axis=1)).mean(),
            "difference of the score": {
                "largest": difference.max(),
                "99%": np.quantile(difference, 0.99),
                "mean": difference.mean(),
            },
            "difference of the familiarity, largest": np.abs(familiarity - familiar).max(),
        }
    return report


def main() -> None:
    """Measure, and store the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", type=Path, nargs="*", default=[], help="an index of real images, such as clothing")
    parser.add_argument("--only", default="", help="part of the names of the data sets to measure")
    parser.add_argument("--most", type=int, help="examples to leave out; the default is that of a calibration")
    parser.add_argument("--labels", type=int, help="labels that are read for an image; the default is that of answers")
    parser.add_argument("--queries", type=int, default=2000)
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name, (*shape, exactly) in DRAWN.items():
        if options.only in name:
            rows, label_ids = drawn(*shape)
            more, truth = drawn(*shape, part=1)
            chosen = np.random.default_rng(2).choice(len(more), options.queries, replace=False)
            names = [f"{label:06}" for label in label_ids]
            results[name] = measure(rows, names, more[chosen], truth[chosen], exactly, options)
            report(results, name)
    if options.index:
        indexes = [Index.open(path) for path in options.index]
        labels = np.array([label for index in indexes for label in index.contents.labels])
        vectors = np.concatenate([index.vectors() for index in indexes])
        half = np.random.default_rng(0).random(len(labels)) < 0.7
        known, numbers = labels[half].tolist(), np.searchsorted(sorted(set(labels[half])), labels)
        of_names = " and ".join(path.stem for path in options.index)
        name = f"real images of {of_names}" + (f", {options.labels} labels read" if options.labels else "")
        results[name] = measure(vectors[half], known, vectors[~half], numbers[~half], True, options)
        report(results, name)


def report(results: dict[str, Any], name: str) -> None:
    """Print a result, and store all."""
    print(name, json.dumps(results[name], indent=1, default=float))
    RESULTS.write_text(json.dumps(results, indent=2, default=float) + "\n")


if __name__ == "__main__":
    main()
