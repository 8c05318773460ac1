"""Pairs of queries and rows: sums that depend on nothing else, and the best pairs."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.neighbors.rescoring import QueryRowPairs, dots, number_rows, ranks
from lmm_classifier.testing import random_embeddings


@pytest.mark.parametrize("dim", [1, 7, 64, 1152, 9000])
def test_dots_are_exact_to_float64(dim):
    """Products agree with a sum in extended precision, for any number of dimensions."""
    rng = np.random.default_rng(dim)
    matrix, forms = random_embeddings(rng, 50, dim), rng.normal(size=(5, dim))
    queries, rows = np.sort(rng.integers(0, 5, 300)), rng.integers(0, 50, 300)
    expected = (forms[queries].astype(np.longdouble) * matrix[rows].astype(np.longdouble)).sum(axis=1)
    np.testing.assert_allclose(dots(matrix, forms, queries, rows), expected.astype(float), atol=1e-13)


def test_a_pair_has_the_same_bits_in_any_batch():
    """Other pairs and their order do not change a bit."""
    rng = np.random.default_rng(0)
    matrix, forms = random_embeddings(rng, 700, 1001), random_embeddings(rng, 9, 1001)
    queries, rows = np.repeat(np.arange(9), 700), np.tile(np.arange(700), 9)
    whole = dots(matrix, forms, queries, rows)
    some = rng.permutation(len(rows))[:999]
    np.testing.assert_array_equal(dots(matrix, forms, queries[some], rows[some]), whole[some])


def test_the_number_of_threads_of_the_matrix_library_changes_nothing():
    """One thread and four threads give the same bits."""
    code = (
        "import numpy as np; from lmm_classifier.neighbors.rescoring import dots; rng = np.random.default_rng(1);"
        "m = rng.normal(size=(90, 12000)).astype(np.float32); q = np.repeat(np.arange(2), 90);"
        "print(dots(m, m[:2], q, np.tile(np.arange(90), 2)).tobytes().hex())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"OPENBLAS_NUM_THREADS": n, "PATH": ""}, check=True, capture_output=True
        ).stdout
        for n in ("1", "4")
    }
    assert len(outputs) == 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 11), st.integers(-3, 3)), max_size=60), st.integers(1, 6))
def test_nearest_and_label_means_agree_with_loops(triples, k):
    """Best pairs come first, equal ones by row; labels have the means of their best; missing ones are -1 and -inf."""
    pairs = sorted({(query, row): cosine / 4 for query, row, cosine in triples}.items())
    queries, rows = (np.array([pair[side] for pair, _ in pairs], np.int64) for side in (0, 1))
    query_row_pairs = QueryRowPairs(4, queries, rows, np.array([cosine for _, cosine in pairs]))
    nearest, cosines = query_row_pairs.nearest(k)
    means = query_row_pairs.label_means(k, rows % 3, 3)
    for query in range(4):
        expected = sorted((-cosine, row) for (number, row), cosine in pairs if number == query)
        assert nearest[query].tolist() == ([row for _, row in expected] + [-1] * k)[:k]
        assert cosines[query].tolist() == ([-negative for negative, _ in expected] + [-np.inf] * k)[:k]
        for label in range(3):
            best = [-negative for negative, row in expected if row % 3 == label][:k]
            assert means[query, label] == pytest.approx(np.mean(best) if best else -np.inf)


@pytest.mark.parametrize("labels", [[0, 2, 1, 2], [2, 0, 1, 0], [0, 0, 1, 2], [0, 2, 1, 0]])
def test_labels_may_come_in_any_order(labels):
    """The mean of the two best of each label."""
    cosines = np.array([0.1, 0.4, 0.3, 0.8])
    pairs = QueryRowPairs(2, np.array([0, 0, 0, 0]), np.arange(4), cosines)
    means = pairs.label_means(1, np.array(labels), 3)
    expected = [cosines[np.array(labels) == label].max(initial=-np.inf) for label in range(3)]
    np.testing.assert_array_equal(means, [expected, [-np.inf] * 3])


def test_ranks_are_places_within_groups():
    """Places start at 0 in each group."""
    assert ranks(np.array([0, 0, 2, 2, 2, 5])).tolist() == [0, 1, 0, 1, 2, 0]


def test_lists_of_rows_are_numbered():
    """Each row has the number of its list; empty lists and no lists give nothing."""
    numbers, rows = number_rows([np.array([4, 7]), np.array([], np.int64), np.array([1])])
    assert numbers.tolist() == [0, 0, 2]
    assert rows.tolist() == [4, 7, 1]
    assert [len(part) for part in number_rows([])] == [0, 0]
