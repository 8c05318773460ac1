"""The search of large matrices is exact for every engine, dataset and batch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.neighbors import brute_force
from lmm_classifier.neighbors.brute_force import BruteForceSearch
from lmm_classifier.neighbors.rescoring import dots
from lmm_classifier.testing import clustered_embeddings, random_embeddings

pytest.importorskip("onnxruntime")


def compare_with_all(embeddings, queries, k):
    """The k nearest rows and their cosines by a full sort."""
    cosines = (embeddings.astype(float)[None] * queries.astype(float)[:, None]).sum(axis=2)  # equal rows, equal bits
    rows = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(cosines, rows, axis=1)


def dataset(kind, rng, count, dim):
    rows = random_embeddings(rng, count, dim)
    if kind == "clustered":
        rows = clustered_embeddings(rng, [str(n) for n in rng.integers(0, 9, count)], dim, 0.3)
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
    """Rows and cosines are those of a full sort, equal cosines by row, in several blocks."""
    rng = np.random.default_rng(seed)
    embeddings = dataset(kind, rng, count, 16)
    queries = np.concatenate([embeddings[:3], random_embeddings(rng, 4, 16)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(brute_force, "_ROWS", 512)
        patch.setattr(brute_force, "_MOST", 300)
        rows, cosines = BruteForceSearch(embeddings, int8=int8).search(queries, k)
    expected_rows, expected_cosines = compare_with_all(embeddings, queries, k)
    np.testing.assert_allclose(cosines, expected_cosines, atol=1e-12)
    is_clear = np.abs(np.diff(expected_cosines, axis=1, append=-2)) > 1e-12  # the full sort rounds in another order
    is_clear &= np.abs(np.diff(expected_cosines, axis=1, prepend=2)) > 1e-12
    assert (rows == expected_rows)[is_clear].all()
    if kind == "duplicates":
        is_tie = np.diff(cosines, axis=1) == 0
        assert (np.diff(rows, axis=1)[is_tie] > 0).all()


@pytest.mark.long
@pytest.mark.parametrize("int8", [True, False])
def test_recall_on_many_clustered_rows(int8):
    """All of the ten nearest of 30,000 rows in two thousand clusters are found."""
    rng = np.random.default_rng(0)
    embeddings = clustered_embeddings(rng, [str(n) for n in rng.integers(0, 2000, 30_000)], 96, 0.8)
    queries = embeddings[:64]
    rows, _ = BruteForceSearch(embeddings, int8=int8).search(queries, 10)
    expected_rows = np.argsort(-(queries.astype(float) @ embeddings.astype(float).T), axis=1)[:, :10]
    recall = np.mean([len(set(nearest) & set(expected)) / 10 for nearest, expected in zip(rows, expected_rows)])
    assert recall >= 0.999


def test_both_engines_and_any_batch_give_the_same_bits(monkeypatch):
    """Batch, block size, threads and engine do not change a bit."""
    rng = np.random.default_rng(3)
    embeddings = np.repeat(random_embeddings(rng, 4000, 65), 2, axis=0)
    queries = random_embeddings(rng, 50, 65)
    whole = BruteForceSearch(embeddings, int8=True).search(queries, 7)
    monkeypatch.setattr(brute_force, "_ROWS", 1000)
    for int8 in (True, False):
        for workers in (1, 3):
            monkeypatch.setattr(brute_force, "cpu_count", lambda workers=workers: workers)
            monkeypatch.setattr(brute_force, "_MANY", 5000 * workers)
            search = BruteForceSearch(embeddings, int8=int8)
            for size in (1, 7, 50):
                parts = [search.search(queries[start : start + size], 7) for start in range(0, 50, size)]
                np.testing.assert_array_equal(np.concatenate([rows for rows, _ in parts]), whole[0])
                np.testing.assert_array_equal(np.concatenate([cosines for _, cosines in parts]), whole[1])


@pytest.mark.parametrize("int8", [True, False])
def test_memory_does_not_grow_where_all_rows_are_equal(monkeypatch, int8):
    """Fewer queries are searched at once, and the result is the same."""
    embeddings = np.repeat(random_embeddings(np.random.default_rng(5), 1, 8), 2000, axis=0)
    monkeypatch.setattr(brute_force, "_ROWS", 500)
    monkeypatch.setattr(brute_force, "_PAIRS", 3000)
    rows, _ = BruteForceSearch(embeddings, int8=int8).search(random_embeddings(np.random.default_rng(6), 5, 8), 3)
    assert rows.tolist() == [[0, 1, 2]] * 5


def counted(monkeypatch, embeddings, queries, k, int8):
    """Search; return how many pairs are multiplied exactly, and the queries of each round."""
    pairs, rounds = [], []
    search = BruteForceSearch(embeddings, int8=int8)
    at_once = search._search_at_once

    def count_pairs(matrix, forms, queries, rows):
        pairs.append(len(rows))
        return dots(matrix, forms, queries, rows)

    def count_queries(queries, k):
        rounds.append(len(queries))
        return at_once(queries, k)

    monkeypatch.setattr(brute_force, "dots", count_pairs)
    monkeypatch.setattr(search, "_search_at_once", count_queries)
    search.search(queries, k)
    return sum(pairs), rounds


@pytest.mark.parametrize(("int8", "most"), [(True, 2.5), (False, 1.05)])
def test_few_rows_are_compared_exactly(monkeypatch, int8, most):
    """Little more than the k wanted pairs of each query, and all queries at once."""
    rng = np.random.default_rng(7)
    embeddings, queries = random_embeddings(rng, 20_000, 64), random_embeddings(rng, 30, 64)
    pairs, rounds = counted(monkeypatch, embeddings, queries, 10, int8)
    assert 300 <= pairs <= most * 300
    assert rounds == [30]


def test_queries_are_searched_in_parts_of_bounded_memory(monkeypatch):
    """256 at a time against blocks of 8192 rows; a quarter of that where there are very many rows."""
    rng = np.random.default_rng(8)
    embeddings, queries = random_embeddings(rng, 10, 4), random_embeddings(rng, 600, 4)
    assert counted(monkeypatch, embeddings, queries, 3, False)[1] == [256, 256, 88]
    monkeypatch.setattr(brute_force, "_MANY", 10)
    assert counted(monkeypatch, embeddings, queries[:100], 3, False)[1] == [64, 36]


def test_equal_rows_halve_the_queries_down_to_one(monkeypatch):
    """Where all pairs are candidates, the queries are halved until they fit, and one is always searched."""
    embeddings = np.repeat(random_embeddings(np.random.default_rng(5), 1, 8), 100, axis=0)
    queries = random_embeddings(np.random.default_rng(6), 4, 8)
    for most, rounds in ((400, [4]), (399, [4, 2, 2]), (199, [4, 2, 1, 1, 2, 1, 1]), (1, [4, 2, 1, 1, 2, 1, 1])):
        with monkeypatch.context() as patch:
            patch.setattr(brute_force, "_PAIRS", most)
            assert counted(patch, embeddings, queries, 3, False)[1] == rounds


@pytest.mark.parametrize(("most", "exact"), [(100, 200), (99, 200), (5, 200)])
def test_queries_with_many_candidates_are_searched_in_float32(monkeypatch, most, exact):
    """Where 8-bit integers leave too many candidates: more than the limit, and more than twice the rows wanted."""
    embeddings = np.repeat(random_embeddings(np.random.default_rng(5), 1, 8), 100, axis=0)
    queries = random_embeddings(np.random.default_rng(6), 2, 8)
    monkeypatch.setattr(brute_force, "_MOST", most)
    floats = []
    scores = brute_force.FloatBlock.scores
    monkeypatch.setattr(
        brute_force.FloatBlock, "scores", lambda block, queries: floats.append(len(queries)) or scores(block, queries)
    )
    pairs, _ = counted(monkeypatch, embeddings, queries, 3, True)
    assert pairs == exact
    assert floats == ([2] if most < 100 else [])
    floats.clear()
    counted(monkeypatch, embeddings, queries, 50, True)  # twice 50 is not exceeded
    assert floats == []


class GivenBlock:
    """A block with given scores of one query and a given error."""

    def __init__(self, scores, error):
        self._scores, self._error, self.count = np.array([scores], np.float32), error, len(scores)

    def errors(self, queries):
        return np.full(1, self._error, np.float32)

    def scores(self, queries):
        return self._scores


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_every_row_that_may_be_among_the_nearest_is_a_candidate(k):
    """Two scores may err in opposite directions: the limit is the k-th best score minus twice the largest error."""
    blocks = [GivenBlock([1.0, 0.9375, 0.875, 0.8125, 0.5], 0.0625), GivenBlock([0.96875], 0.03125)]
    found = brute_force._candidates(blocks, None, k)
    kept = dict(zip(found.rows.tolist(), zip(found.scores.tolist(), found.upper_bounds.tolist())))
    scores, errors = [1.0, 0.9375, 0.875, 0.8125, 0.5, 0.96875], [0.0625] * 5 + [0.03125]
    limit = sorted(scores)[-k] - 2 * 0.0625
    assert sorted(kept) == [row for row, score in enumerate(scores) if score >= limit]
    assert kept == {row: (scores[row], scores[row] + errors[row]) for row in kept}


def test_the_engine_is_chosen_by_what_is_available():
    """8-bit integers where they are exact, unless the caller says otherwise."""
    embeddings = random_embeddings(np.random.default_rng(4), 5, 3)
    assert bool(BruteForceSearch(embeddings)._int8) == brute_force.is_available()
    assert not BruteForceSearch(embeddings, int8=False)._int8
    assert BruteForceSearch(embeddings, int8=True)._int8


def test_empty_input_and_numbers_that_are_not_finite():
    """No query, no k and no row give empty results; NaN raises ValueError."""
    search = BruteForceSearch(random_embeddings(np.random.default_rng(4), 5, 3))
    assert search.search(np.empty((0, 3), np.float32), 2)[0].shape == (0, 2)
    assert search.search(np.ones((2, 3), np.float32), 0)[0].shape == (2, 0)
    assert search.search(np.ones((2, 3), np.float32), 50)[0].shape == (2, 5)
    assert BruteForceSearch(np.empty((0, 3), np.float32)).search(np.ones((2, 3), np.float32), 4)[0].shape == (2, 0)
    with pytest.raises(ValueError, match="not finite"):
        search.search(np.full((1, 3), np.nan, np.float32), 1)


def test_the_limits_of_memory():
    """Scores of 8 MB in blocks of 8,192 rows, four times as many from half a million on, and 100 MB of candidates."""
    assert (4 * brute_force._SCORES, brute_force._ROWS, brute_force._MANY) == (8_388_608, 8192, 500_000)
    assert (24 * brute_force._PAIRS, brute_force._MOST) == (100_663_296, 4000)


@pytest.mark.parametrize(
    ("cores", "blocks", "workers"), [(1, 5, None), (4, 1, None), (2, 2, 2), (2, 5, 2), (3, 2, 2), (8, 3, 3)]
)
def test_threads_are_used_where_there_are_several_cores_and_blocks(monkeypatch, cores, blocks, workers):
    """As many as there is work and cores for; the results come in order."""
    pools, pool_of = [], brute_force.ThreadPoolExecutor
    monkeypatch.setattr(brute_force, "cpu_count", lambda: cores)
    monkeypatch.setattr(brute_force, "ThreadPoolExecutor", lambda number: pools.append(number) or pool_of(number))
    assert list(brute_force._on_all_cores(lambda number: number * 10, blocks)) == [10 * n for n in range(blocks)]
    assert pools == ([] if workers is None else [workers])
