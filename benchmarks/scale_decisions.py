"""Answers through a large table next to those of a comparison with all of its rows, by the same calibration."""

from __future__ import annotations

import resource
from dataclasses import replace

import numpy as np

from benchmarks.scale_rows import QUERIES, contested_of, queries_of
from benchmarks.scale_sparse import answers_of_index, answers_of_store, timed
from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.sparse.store_fit import StoreFitting, fit_through_stores
from lmm_classifier.index.backends.lance_table.row_store import LanceRowStore
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gathering.reading import ReadingLimits

_EXAMPLES = 1000  # that the calibration leaves out


def measure_answers(url: str, rows: int) -> dict[str, float]:
    """Calibrate through the table, answer through it, and compare with all rows; half of the queries are contested."""
    store, limits = LanceRowStore.open(url), ReadingLimits()
    how = StoreFitting(limits, _EXAMPLES, store_norms=True)
    (calibration, _), calibrating = timed(lambda: fit_through_stores(RetrievalConfig(), [store], how))
    store = LanceRowStore.open(url)
    queries = np.concatenate([queries_of(rows), contested_of(rows, QUERIES)])
    (logs, familiarity), answering = timed(lambda: answers_of_store(calibration, store, queries, limits))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    blocks = [np.asarray(block.vectors, np.float32) for block in store.blocks(("vectors",))]
    names = np.repeat(np.array(store.label_names), store.counts).tolist()
    index = Index.from_vectors(np.concatenate(blocks), names)
    del blocks
    expected, familiar = answers_of_index(_of_all_rows(calibration, index), index, queries)
    scores = np.abs(np.exp(logs.max(axis=1)) - np.exp(expected.max(axis=1)))
    return {
        "answers that are equal": float((logs.argmax(axis=1) == expected.argmax(axis=1)).mean()),
        "contested answers that are equal": float((logs.argmax(axis=1) == expected.argmax(axis=1))[QUERIES:].mean()),
        "largest difference of the score": float(scores.max()),
        "largest difference of the familiarity": float(np.abs(familiarity - familiar).max()),
        "score of a contested answer": float(np.exp(expected.max(axis=1))[QUERIES:].mean()),
        "answer, CPU ms": 1000 * answering / len(queries),
        "calibration, CPU s": calibrating,
        "memory of the answering process, MB": memory,
    }


def _of_all_rows(calibration: Calibration, index: Index) -> Calibration:
    """Return the same calibration for an index in memory, which has a density for each row, not for each label."""
    (fit,) = calibration.fits
    familiarity = replace(fit.familiarity, knn_distance=fit.familiarity.knn_distance[index.label_ids])
    return replace(calibration, fits=(replace(fit, familiarity=familiarity),))
