"""Pairs of queries and rows: sums that depend on nothing else, and the best of them."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.neighbors.rescoring import Pairs, dots, ranks
from lmm_classifier.testing import unit_rows


@pytest.mark.parametrize("dim", [1, 7, 64, 1152, 9000])
def test_dots_are_exact_to_float64(dim):
    """Products agree with a long sum, for any length of the rows."""
    rng = np.random.default_rng(dim)
    matrix, forms = unit_rows(rng, 50, dim), rng.normal(size=(5, dim))
    queries, rows = np.sort(rng.integers(0, 5, 300)), rng.integers(0, 50, 300)
    expected = (forms[queries].astype(np.longdouble) * matrix[rows].astype(np.longdouble)).sum(axis=1)
    np.testing.assert_allclose(dots(matrix, forms, queries, rows), expected.astype(float), atol=1e-13)


def test_a_pair_has_the_same_bits_whatever_it_is_computed_with():
    """Neither other pairs nor their order change a bit."""
    rng = np.random.default_rng(0)
    matrix, forms = unit_rows(rng, 700, 1001), unit_rows(rng, 9, 1001)
    queries, rows = np.repeat(np.arange(9), 700), np.tile(np.arange(700), 9)
    whole = dots(matrix, forms, queries, rows)
    some = rng.permutation(len(rows))[:999]
    np.testing.assert_array_equal(dots(matrix, forms, queries[some], rows[some]), whole[some])


def test_the_number_of_threads_of_the_matrix_library_changes_nothing():
    """The same bits with one thread and with many."""
    code = (
        "import numpy as np; from lmm_classifier.neighbors.rescoring import dots; rng = np.random.default_rng(1);"
        "m = rng.normal(size=(90, 12000)).astype(np.float32); q = np.repeat(np.arange(2), 90);"
        "print(dots(m, m[:2], q, np.tile(np.arange(90), 2)).tobytes().hex())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={"OPENBLAS_NUM_THREADS": n, "PATH": ""}, check=True, capture_output=True
        ).stdout
        for n in ("1", "4")
    }
    assert len(said) == 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 11), st.integers(-3, 3)), max_size=60), st.integers(1, 6))
def test_nearest_and_label_means_against_loops(found, k):
    """Best first, equal ones by row; means of the best per label; nothing where there is nothing."""
    found = sorted({(query, row): cosine / 4 for query, row, cosine in found}.items())
    queries, rows = (np.array([pair[side] for pair, _ in found], np.int64) for side in (0, 1))
    cosines = np.array([cosine for _, cosine in found])
    several = Pairs(4, queries, rows, cosines)
    near, values = several.nearest(k)
    means = several.label_means(k, rows % 3, 3)
    for query in range(4):
        mine = sorted((-cosine, row) for (one, row), cosine in found if one == query)
        assert near[query].tolist() == ([row for _, row in mine] + [-1] * k)[:k]
        assert values[query].tolist() == ([-cosine for cosine, _ in mine] + [-np.inf] * k)[:k]
        for label in range(3):
            best = [-cosine for cosine, row in mine if row % 3 == label][:k]
            assert means[query, label] == pytest.approx(np.mean(best) if best else -np.inf)


def test_ranks():
    """The place of each within its group."""
    assert ranks(np.array([0, 0, 2, 2, 2, 5])).tolist() == [0, 1, 0, 1, 2, 0]
