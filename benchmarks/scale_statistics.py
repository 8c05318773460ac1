"""The scatter within labels from sums of parts, relative to that of two passes over all rows."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np

from benchmarks.rows import Row, where
from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.distributed.statistics.part_statistics import PartStatistics, reduce_parts
from lmm_classifier.neighbors.metric import WithinClassScatter, fit_scatter

COMMAND = "python -m benchmarks.scale --only statistics"
_PARTS = 7


def rows(quick: bool) -> list[Row]:
    """Measure and return the rows."""
    count, labels, width = (3_000, 50, 128) if quick else (30_000, 1_000, 1152)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, labels, count)
    drawn = rng.normal(size=(labels, width))[ids] + rng.normal(size=(count, width)) * np.linspace(0.05, 1, width)
    vectors = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    started = time.process_time()
    expected = fit_scatter(vectors, ids, labels)
    two_passes = time.process_time() - started
    started = time.process_time()
    edges = np.linspace(0, count, _PARTS + 1).astype(int)
    parts = [(f"{n}", PartStatistics.of(vectors[a:b], ids[a:b])) for n, (a, b) in enumerate(pairwise(edges))]
    found = reduce_parts(parts, labels, width).scatter()
    by_parts = time.process_time() - started
    exact = _matrix(expected)
    difference = float(np.abs(_matrix(found) - exact).max() / np.abs(exact).max())
    against = f"{count:,} drawn rows of {width} numbers, {labels:,} labels, {_PARTS} parts; two passes over all rows"
    machine = where()
    name = "scatter by parts"
    return [
        Row(f"{name}: largest difference, relative", difference, "", 1e-12, "lower", against, machine, COMMAND),
        Row(
            f"{name}: processor time relative to two passes",
            round(by_parts / two_passes, 2),
            "x",
            None,
            "lower",
            against,
            machine,
            COMMAND,
        ),
    ]


def _matrix(scatter: WithinClassScatter) -> Float64Array:
    return np.asarray((scatter.axes * scatter.variances) @ scatter.axes.T)
