"""The search of large matrices: exact, whatever the engine, the data and the batch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.neighbors import brute_force as nearest_rows
from lmm_classifier.neighbors.brute_force import NearestRows
from lmm_classifier.testing import clustered_rows, unit_rows

pytest.importorskip("onnxruntime")


def brute(units, queries, k):
    near = (units.astype(float)[None] * queries.astype(float)[:, None]).sum(axis=2)  # equal rows have equal bits
    rows = np.argsort(-near, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(near, rows, axis=1)


def data(kind, rng, count, dim):
    rows = unit_rows(rng, count, dim)
    if kind == "clustered":
        rows = clustered_rows(rng, [str(n) for n in rng.integers(0, 9, count)], dim, 0.3)
    elif kind == "duplicates":
        rows = rows[rng.integers(0, max(count // 20, 1), count)]
    elif kind == "outliers":
        rows[:, 0] += 9
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    elif kind == "zeros":
        rows[::3] = 0
    return rows


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["random", "clustered", "duplicates", "outliers", "zeros"]),
    st.integers(1, 3000),
    st.integers(1, 30),
    st.booleans(),
    st.integers(0, 999),
)
def test_no_row_is_ever_missed(kind, count, k, int8, seed):
    """Rows and cosines are those of brute force, equal ones by row, in several blocks."""
    rng = np.random.default_rng(seed)
    units = data(kind, rng, count, 16)
    queries = np.concatenate([units[:3], unit_rows(rng, 4, 16)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest_rows, "_ROWS", 512)
        patch.setattr(nearest_rows, "_MOST", 300)
        rows, cosines = NearestRows(units, int8=int8).search(queries, k)
    expected, near = brute(units, queries, k)
    np.testing.assert_allclose(cosines, near, atol=1e-12)
    clear = np.abs(np.diff(near, axis=1, append=-2)) > 1e-12  # brute force rounds in another order
    clear &= np.abs(np.diff(near, axis=1, prepend=2)) > 1e-12
    assert (rows == expected)[clear].all()
    if kind == "duplicates":
        ties = np.diff(cosines, axis=1) == 0
        assert (np.diff(rows, axis=1)[ties] > 0).all()


@pytest.mark.parametrize("int8", [True, False])
def test_recall_on_many_clustered_rows(int8):
    """All of the ten nearest of 30,000 rows in two thousand clusters are found."""
    rng = np.random.default_rng(0)
    units = clustered_rows(rng, [str(n) for n in rng.integers(0, 2000, 30_000)], 96, 0.8)
    queries = units[:64]
    found, _ = NearestRows(units, int8=int8).search(queries, 10)
    expected = np.argsort(-(queries.astype(float) @ units.astype(float).T), axis=1)[:, :10]
    recall = np.mean([len(set(one) & set(other)) / 10 for one, other in zip(found, expected)])
    assert recall >= 0.999


def test_both_engines_and_any_batch_give_the_same_bits(monkeypatch):
    """Not the batch, the block, the threads nor the engine decide a bit."""
    rng = np.random.default_rng(3)
    units = np.repeat(unit_rows(rng, 4000, 65), 2, axis=0)
    queries = unit_rows(rng, 50, 65)
    whole = NearestRows(units, int8=True).search(queries, 7)
    monkeypatch.setattr(nearest_rows, "_ROWS", 1000)
    for int8 in (True, False):
        for workers in (1, 3):
            monkeypatch.setattr(nearest_rows, "processors", lambda workers=workers: workers)
            monkeypatch.setattr(nearest_rows, "_MANY", 5000 * workers)
            search = NearestRows(units, int8=int8)
            for size in (1, 7, 50):
                parts = [search.search(queries[start : start + size], 7) for start in range(0, 50, size)]
                np.testing.assert_array_equal(np.concatenate([rows for rows, _ in parts]), whole[0])
                np.testing.assert_array_equal(np.concatenate([cosines for _, cosines in parts]), whole[1])


@pytest.mark.parametrize("int8", [True, False])
def test_memory_does_not_grow_where_all_rows_are_equal(monkeypatch, int8):
    """Fewer queries are looked at together, and the answer is the same."""
    units = np.repeat(unit_rows(np.random.default_rng(5), 1, 8), 2000, axis=0)
    monkeypatch.setattr(nearest_rows, "_ROWS", 500)
    monkeypatch.setattr(nearest_rows, "_PAIRS", 3000)
    rows, _ = NearestRows(units, int8=int8).search(unit_rows(np.random.default_rng(6), 5, 8), 3)
    assert rows.tolist() == [[0, 1, 2]] * 5


def test_edges():
    """No query, no k, no row; NaN is refused."""
    search = NearestRows(unit_rows(np.random.default_rng(4), 5, 3))
    assert search.search(np.empty((0, 3), np.float32), 2)[0].shape == (0, 2)
    assert search.search(np.ones((2, 3), np.float32), 0)[0].shape == (2, 0)
    assert search.search(np.ones((2, 3), np.float32), 50)[0].shape == (2, 5)
    assert NearestRows(np.empty((0, 3), np.float32)).search(np.ones((2, 3), np.float32), 4)[0].shape == (2, 0)
    with pytest.raises(ValueError, match="not finite"):
        search.search(np.full((1, 3), np.nan, np.float32), 1)
