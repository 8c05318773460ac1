"""Rows that are sorted by label: which ids a label has, and checks of what is asked for."""

from __future__ import annotations

import numpy as np

from lmm_classifier.core.arrays import Float64Array, IntArray


def label_starts(counts: IntArray) -> IntArray:
    """Return the first id of each of C labels with these counts, and the number of rows behind them: (C + 1,)."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def labels_of_rows(ids: IntArray, starts: IntArray) -> IntArray:
    """Return the label of each row (n,), by its id."""
    return np.asarray(np.searchsorted(starts, ids, side="right") - 1, np.int64)


def require_labels(label_ids: IntArray, labels: int) -> IntArray:
    """Return the different ones of these labels, ascending; raise ValueError where there is no such label."""
    wanted = np.asarray(label_ids, np.int64)
    if wanted.size and not 0 <= wanted.min() <= wanted.max() < labels:
        raise ValueError(f"expected labels below {labels}, got {wanted.min()} to {wanted.max()}")
    return np.unique(wanted)


def ids_of_labels(label_ids: IntArray, starts: IntArray, most: int | None = None) -> IntArray:
    """Return the ids of the rows of some labels, ascending; the first `most` of each label.

    `starts` are those of `label_starts`. Raises ValueError where there is no such label.
    """
    labels = require_labels(label_ids, len(starts) - 1)
    counts = starts[labels + 1] - starts[labels]
    counts = counts if most is None else np.minimum(counts, most)
    return np.asarray(np.repeat(starts[labels] - label_starts(counts)[:-1], counts) + np.arange(counts.sum()), np.int64)


def require_rows(ids: IntArray, rows: int) -> None:
    """Raise KeyError where an id is not that of one of so many rows."""
    wanted = np.asarray(ids)
    wrong = wanted[(wanted < 0) | (wanted >= rows)]
    if len(wrong):
        raise KeyError(f"no row has the id {wrong[0]}; there are {rows}")


def padded(ids: IntArray, cosines: Float64Array, k: int) -> tuple[IntArray, Float64Array]:
    """Return ids and cosines (n, k) of fewer columns: -1 and -inf where there is no row."""
    missing = k - ids.shape[1]
    if missing <= 0:
        return ids, cosines
    pad = ((0, 0), (0, missing))
    return np.pad(ids, pad, constant_values=-1), np.pad(cosines, pad, constant_values=-np.inf)
