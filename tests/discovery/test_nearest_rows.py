"""The nearest rows are those of a plain sort, for any sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.core.errors import Cancelled
from lmm_classifier.discovery import nearest_rows
from lmm_classifier.discovery.nearest_rows import nearest_of, nearest_others


def unit_rows(seed, count, dim=5):
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@given(st.integers(0, 100), st.integers(0, 40), st.integers(0, 12))
def test_the_nearest_are_those_of_a_sort(seed, count, k):
    """Of the other rows, and of rows that are given; in blocks too."""
    rows, queries = unit_rows(seed, count), unit_rows(seed + 1, 7)
    similarities = rows @ rows.T
    np.fill_diagonal(similarities, -np.inf)
    expected = np.sort(np.argsort(-similarities, axis=1)[:, : min(k, max(count - 1, 0))], axis=1)
    assert np.array_equal(np.sort(nearest_others(rows, k), axis=1), expected)
    expected = np.sort(np.argsort(-(queries @ rows.T), axis=1)[:, :k], axis=1)
    assert np.array_equal(np.sort(nearest_of(queries, rows, k), axis=1), expected)


def test_blocks_change_nothing(monkeypatch):
    """Memory is bounded by them; between two of them a run can be stopped."""
    rows = unit_rows(0, 50)
    whole = np.sort(nearest_others(rows, 4), axis=1)
    monkeypatch.setattr(nearest_rows, "_AT_ONCE", 150)
    reports = []
    assert np.array_equal(np.sort(nearest_others(rows, 4, reports.append), axis=1), whole)
    assert [report.done for report in reports][-2:] == [48, 50]
    assert np.array_equal(
        np.sort(nearest_of(rows, rows, 4), axis=1), np.sort(np.argsort(-(rows @ rows.T))[:, :4], axis=1)
    )

    def stop(_):
        raise Cancelled

    with pytest.raises(Cancelled):
        nearest_others(rows, 4, stop)
