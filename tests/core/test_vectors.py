"""Vectors of any source become normalized rows, and what is no vector is refused by its row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lmm_classifier.core.errors import VectorError
from lmm_classifier.core.vectors import normalized_vectors, vector_hashes, vectors_of_each
from lmm_classifier.testing import random_embeddings

FINITE = st.floats(-1e300, 1e300, allow_nan=False)


@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=FINITE))
def test_rows_have_norm_1_or_are_refused(vectors):
    """Of any finite numbers, however large or small; and normalizing again changes no bit."""
    if (vectors == 0).all(axis=1).any():
        with pytest.raises(VectorError, match="is zero"):
            normalized_vectors(vectors)
        return
    rows = normalized_vectors(vectors)
    np.testing.assert_allclose(np.linalg.norm(rows.astype(np.float64), axis=1), 1, atol=1e-6)
    assert (normalized_vectors(rows) == rows).all()


def test_normalized_embeddings_keep_their_bits():
    """What an encoder returns is not rounded again, in any batch and memory order."""
    rows = random_embeddings(np.random.default_rng(0), 3000, 33)
    assert (normalized_vectors(rows) == rows).all()
    assert (normalized_vectors(np.asfortranarray(rows)) == rows).all()
    scaled = rows * np.float32(7)
    assert (normalized_vectors(scaled)[1999] == normalized_vectors(scaled[1999:2000])[0]).all()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">f8", "i1", "u1", "i8"])
def test_number_types(dtype):
    """Floating-point numbers and integers of any size and byte order are taken."""
    rows = normalized_vectors(np.array([[3, 4], [0, 1]], dtype))
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, np.array([[0.6, 0.8], [0, 1]], np.float32))


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1.0, np.nan]], "row 0 holds NaN"),
        ([[1.0, 2.0], [np.inf, 0.0]], "row 1 holds NaN or infinity"),
        ([[1.0, 2.0], [0.0, -0.0]], "row 1 is zero"),
        ([1.0, 2.0], r"shape \(n, dim\), got \(2,\)"),
        (np.ones((2, 3, 4)), r"got \(2, 3, 4\)"),
        (np.ones((2, 0)), r"got \(2, 0\)"),
        (3.0, r"got \(\)"),
        (None, "got object"),
        ("cats", "got the text 'cats'"),
        ([["a", "b"]], "got <U1"),
        ([[True, False]], "got bool"),
        ([[1j, 2]], "got complex128"),
        (np.ma.masked_equal([[1.0, 2.0]], 2.0), "without a mask"),
        (np.array([np.ones(2), np.ones(2)], object), r"object|Stack"),
        ([[1.0, 2.0], [3.0]], "same number of values"),
        (np.array([("a", 1)], [("x", "U1"), ("y", "f4")]), "got "),
        (np.array(["2020-01-01"], "M8[D]"), "got datetime64"),
    ],
)
def test_what_is_no_vector(vectors, message):
    """The message names the row, the shape or the type."""
    with pytest.raises(VectorError, match=message):
        normalized_vectors(vectors)


def test_the_row_is_that_of_the_whole():
    """Also in a later block."""
    vectors = np.ones((2500, 2))
    vectors[2222] = 0
    with pytest.raises(VectorError, match="row 2222 is zero"):
        normalized_vectors(vectors)


def test_no_vector_has_the_expected_width():
    """An empty list is no vector, of any width."""
    assert normalized_vectors([], 5).shape == (0, 5)
    assert normalized_vectors(np.empty((0, 4))).shape == (0, 4)
    with pytest.raises(VectorError, match=r"\(n, 5\), got \(2, 4\)"):
        normalized_vectors(np.ones((2, 4)), 5)


@pytest.mark.long
def test_a_tensor_is_taken():
    """Of any number type, also where it has a gradient."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    tensor = torch.tensor([[3.0, 4.0]], dtype=torch.bfloat16, requires_grad=True)
    np.testing.assert_array_equal(normalized_vectors(tensor), np.array([[0.6, 0.8]], np.float32))


def test_hashes_tell_vectors_apart():
    """Equal vectors have equal hashes, whatever the array they are in."""
    rows = random_embeddings(np.random.default_rng(0), 4, 3)
    hashes = list(vector_hashes(rows))
    assert len({*hashes}) == 4
    assert all(len(digest) == 64 for digest in hashes)
    assert list(vector_hashes(np.asfortranarray(rows)[::-1])) == hashes[::-1]


def test_vectors_of_several_encoders():
    """A list has an array of each, of as many images."""
    first, second = np.ones((3, 2)), np.ones((3, 4))
    assert [part.shape for part in vectors_of_each([first, second], [2, 4])] == [(3, 2), (3, 4)]
    assert [part.shape for part in vectors_of_each(first, [2])] == [(3, 2)]
    with pytest.raises(VectorError, match="a list of 2 arrays, the vectors of each encoder of the index, got ndarray"):
        vectors_of_each(first, [2, 4])
    with pytest.raises(VectorError, match="got 1 of them"):
        vectors_of_each([first], [2, 4])
    with pytest.raises(VectorError, match="one for each image, got 3, 2"):
        vectors_of_each((first, second[:2]), [2, 4])
