"""Spaces: comparable unit rows, the same bits however they are computed, nothing odd from odd corpora."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.linalg import ExactProduct
from lmm_classifier.embeddings.whitening import (
    BlockWhitening,
    BlockWhiteningRecipe,
    IdentityRecipe,
    IdentitySpace,
    _axes_of_many,
    restore,
)
from tests.helpers.paths import ROOT

SIZES, WEIGHTS, SCALE = (20, 30, 10), (1.0, 1.0, 0.5), 7.0
RECIPE = BlockWhiteningRecipe(SIZES, WEIGHTS, SCALE, dim=16)
ODD_SHAPES = [(2483, 512), (512, 1), (512, 33), (300, 2999), (64, 17), (1, 5)]


def homogeneous(values, scale=SCALE):
    rows = np.column_stack([values, np.full(len(values), scale)])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def corpus(count, seed=0):
    """Rows with a mean, correlated numbers and blocks of different units."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(60, 60)) * np.repeat([1, 0.1, 5], SIZES)
    return homogeneous(1 + random.normal(size=(count, 60)) @ mixing / 60)


def fit(rows, recipe=RECIPE, block=10_000):
    return recipe.fit(lambda: (rows[start : start + block] for start in range(0, len(rows), block)))


def cosines(space, rows):
    unit = space.transform(rows).astype(np.float64)
    return unit @ unit.T


@pytest.mark.parametrize(("depth", "columns"), ODD_SHAPES)
@pytest.mark.parametrize("transposed", [False, True])
def test_exact_product_is_a_product(depth, columns, transposed):
    """The result is the matrix product, whatever the shape, the memory order and the units of rows and columns."""
    random = np.random.default_rng(1)
    a = (random.normal(size=(35, depth)) * 10.0 ** random.integers(-6, 6, (35, 1))).astype(np.float32)
    b = (random.normal(size=(depth, columns)) * 10.0 ** random.integers(-6, 6, columns)).astype(np.float32)
    product = ExactProduct(np.asfortranarray(b) if transposed else b)(a)
    assert product.dtype == np.float32
    expected = a.astype(np.float64) @ b
    scale = np.linalg.norm(a, axis=1, keepdims=True) * np.linalg.norm(b, axis=0)
    assert (np.abs(product - expected) / scale).max() < 2e-6


@pytest.mark.parametrize(("depth", "columns"), ODD_SHAPES)
def test_exact_product_is_that_of_integers(depth, columns):
    """No sum is rounded: the result is that of Python's unlimited integers, so no order of summation can change it."""
    random = np.random.default_rng(2)
    a, b = (random.normal(size=shape).astype(np.float32) for shape in [(2, depth), (depth, columns)])
    bits = (53 - max(depth - 1, 1).bit_length()) // 2
    a_scale = [2.0 ** (bits - np.frexp(np.abs(row).max())[1]) for row in a]
    b_scale = [2.0 ** (bits - np.frexp(np.abs(column).max())[1]) for column in b.T]
    integers = [[round(float(x) * scale) for x in row] for row, scale in zip(a, a_scale)]
    columns_of_integers = [[round(float(x) * scale) for x in column] for column, scale in zip(b.T[:5], b_scale)]
    expected = [
        [np.float32(sum(map(int.__mul__, row, column)) / (s * t)) for column, t in zip(columns_of_integers, b_scale)]
        for row, s in zip(integers, a_scale)
    ]
    np.testing.assert_array_equal(ExactProduct(b)(a)[:, :5], expected)
    largest = max(abs(x) for row in integers for x in row)
    assert largest <= 2**bits, "or sums could exceed what float64 holds"


@pytest.mark.parametrize(("depth", "columns"), ODD_SHAPES)
@pytest.mark.parametrize("size", [1, 7, 32, 64])
def test_exact_product_rows_do_not_depend_on_their_batch(depth, columns, size):
    """Rows have the same bits in batches of 1, 7, 32, 64 and 100."""
    random = np.random.default_rng(2)
    a = random.normal(size=(100, depth)).astype(np.float32)
    product = ExactProduct(random.normal(size=(columns, depth)).astype(np.float32).T)
    parts = [product(a[start : start + size]) for start in range(0, 100, size)]
    np.testing.assert_array_equal(np.concatenate(parts), product(a))


def test_exact_product_of_nothing():
    """No rows give no rows, of the right width; zeros stay zeros; what is not finite stays in its row."""
    assert ExactProduct(np.ones((4, 3), np.float32))(np.empty((0, 4), np.float32)).shape == (0, 3)
    assert ExactProduct(np.ones((4, 0), np.float32))(np.ones((2, 4), np.float32)).shape == (2, 0)
    rows = np.array([[0, 0], [np.inf, 1], [np.nan, 1], [1, 2]], np.float32)
    product = ExactProduct(np.eye(2, dtype=np.float32))(rows)
    np.testing.assert_array_equal(product[[0, 3]], [[0, 0], [1, 2]])
    assert not np.isfinite(product[1:3]).any()


DIGEST = """
import hashlib
import numpy as np
from tests.embeddings.test_whitening import ODD_SHAPES
from lmm_classifier.core.linalg import ExactProduct
from lmm_classifier.embeddings.whitening import restore
random, digest = np.random.default_rng(3), hashlib.sha256()
for depth, columns in ODD_SHAPES:
    a, b = random.normal(size=(40, depth)), random.normal(size=(columns, depth))
    digest.update(ExactProduct(b.astype(np.float32).T)(a.astype(np.float32)).tobytes())
state = {
    "sizes": np.array([1400, 1083]), "weights": np.ones(2), "scale": np.ones(1), "mean": np.zeros(2483, np.float32),
    "second_mean": np.zeros(2483, np.float32), "projection": random.normal(size=(2483, 512)).astype(np.float32),
}
digest.update(restore("block_whitening", state).transform(random.normal(size=(40, 2484)).astype(np.float32)).tobytes())
print(digest.hexdigest())
"""


def test_bits_do_not_depend_on_threads():
    """One and two threads of the matrix library give the same bits."""
    digests = set()
    for threads in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", DIGEST], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout)
    assert len(digests) == 1


def test_identity_changes_nothing():
    """The identity hands back the very rows and keeps no state."""
    rows = corpus(3)
    space = IdentityRecipe().fit(lambda: [rows])
    assert space.name == "identity"
    assert space.transform(rows) is rows
    assert dict(space.state()) == {}
    assert isinstance(restore("identity", {}), IdentitySpace)


@pytest.mark.parametrize("count", [40, 200])
def test_whitened_rows_are_unit_rows(count):
    """Rows come out finite, float32, of unit length and of min(dim, n - 1) numbers, fitted on few or on many."""
    space = fit(corpus(count))
    rows = space.transform(corpus(50, seed=5))
    assert (rows.shape, rows.dtype) == ((50, 16), np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert fit(corpus(9)).transform(corpus(4)).shape == (4, 8)


def test_whitening_follows_its_formula():
    """The cosines are those of the recipe computed straight in float64, by the eigenvectors of the covariance."""
    rows = corpus(200)
    blocks = rows[:, :-1].astype(np.float64) * SCALE / rows[:, -1:]
    blocks -= blocks.mean(axis=0)
    parts = np.split(blocks, np.cumsum(SIZES)[:-1], axis=1)
    joined = np.hstack([w * part / np.linalg.norm(part, axis=1, keepdims=True) for w, part in zip(WEIGHTS, parts)])
    joined -= joined.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov(joined.T, bias=True))
    variances, axes = variances[-16:], axes[:, -16:]
    expected = joined @ axes / np.sqrt(variances + 0.5 * variances.mean())
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(cosines(fit(rows), rows), expected @ expected.T, atol=1e-4)


def test_axes_of_many_are_those_of_the_full_covariance():
    """Wide rows, whose axes are sought in a subspace, have the cosines that all eigenvectors give."""
    random = np.random.default_rng(11)
    spread = np.arange(1, 601) ** -0.7  # as features of pictures decay, or slower
    rows = random.normal(size=(900, 600)) * spread
    mean, (variances, axes) = _axes_of_many([rows[:500], rows[500:]], 600, 64)
    np.testing.assert_allclose(mean, rows.mean(axis=0), atol=1e-12)
    all_variances, all_axes = np.linalg.eigh(np.cov(rows.T, bias=True))
    np.testing.assert_allclose(variances[:64], all_variances[::-1][:64], rtol=1e-4)
    near, exact = rows @ axes[:, :64], rows @ all_axes[:, ::-1][:, :64]
    lengths = np.linalg.norm(exact, axis=1)
    assert np.abs(near @ near.T - exact @ exact.T).max() < 1e-3 * lengths.max() ** 2


def test_length_is_not_lost_in_unit_rows():
    """The homogeneous scale is no more than notation: another one gives the same similarities."""
    values = np.random.default_rng(6).normal(size=(50, 60)) * 5
    other = BlockWhiteningRecipe(SIZES, WEIGHTS, scale=70.0, dim=16)
    here, there = homogeneous(values), homogeneous(values, scale=70.0)
    np.testing.assert_allclose(cosines(fit(here), here), cosines(fit(there, other), there), atol=1e-4)


@pytest.mark.parametrize("count", [40, 200])
@pytest.mark.parametrize("block", [1, 7, 64])
def test_streamed_fit_is_the_whole_fit(count, block):
    """A corpus read in small blocks gives the space of the corpus read at once."""
    rows = corpus(count)
    np.testing.assert_allclose(cosines(fit(rows, block=block), rows), cosines(fit(rows), rows), atol=1e-5)


def test_few_and_many_rows_take_two_ways_to_one_space():
    """The Gram matrix of 40 rows and the covariance of the same rows three times over give the same space."""
    rows = corpus(40)
    np.testing.assert_allclose(cosines(fit(np.tile(rows, (3, 1))), rows), cosines(fit(rows), rows), atol=1e-4)


def test_memory_does_not_grow_with_the_corpus():
    """A fit reads a corpus in blocks, more than once, and keeps none of them."""

    def peak(blocks):
        tracemalloc.start()
        RECIPE.fit(lambda: (corpus(500, seed) for seed in range(blocks)))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(1)  # first calls fill caches
    assert peak(20) < 1.2 * peak(2)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_transform_does_not_depend_on_the_batch(sizes):
    """Any split of the rows gives the same bits."""
    space, rows = fit(corpus(100)), corpus(sum(sizes), seed=8)
    ends = np.cumsum(sizes)
    parts = [space.transform(rows[end - size : end]) for size, end in zip(sizes, ends)]
    np.testing.assert_array_equal(np.concatenate(parts), space.transform(rows))


def test_no_rows_give_no_rows():
    """An empty batch keeps its width."""
    assert fit(corpus(100)).transform(np.empty((0, 61), np.float32)).shape == (0, 16)


@pytest.mark.parametrize("picked", [[], [0], [0, 1], [0] * 5, [0, 1] * 5, [0] * 100, [0, 0, 1] * 100], ids=str)
def test_corpora_without_spread(picked):
    """Nothing, one or two pictures, or the same ones again and again: unit rows, and the same picture is the same."""
    rows = corpus(3)
    similarities = cosines(fit(rows[picked]), rows)
    np.testing.assert_allclose(np.diag(similarities), 1, atol=1e-6)
    assert (similarities[~np.eye(3, dtype=bool)] < 0.9999).all()


def test_three_pictures_are_enough_to_centre():
    """The smallest corpus that is whitened gives unit rows."""
    rows = corpus(3)
    np.testing.assert_allclose(np.diag(cosines(fit(rows), rows)), 1, atol=1e-6)
    assert "projection" in fit(rows).state()


@pytest.mark.parametrize("count", [2, 100])
def test_state_round_trip(count, tmp_path):
    """A space restored from stored arrays gives the same bits."""
    space = fit(corpus(count))
    np.savez(tmp_path / "space.npz", **space.state())
    with np.load(tmp_path / "space.npz", allow_pickle=False) as state:
        restored = restore(space.name, dict(state))
    assert isinstance(restored, BlockWhitening)
    assert restored.name == "block_whitening"
    rows = corpus(40, seed=9)
    np.testing.assert_array_equal(restored.transform(rows), space.transform(rows))


def test_rows_of_another_width_are_refused():
    """Rows that are not the recipe's are an error that names both widths, in fit and in transform."""
    with pytest.raises(ValueError, match=r"\(n, 61\), got \(2, 60\)"):
        fit(corpus(100)).transform(np.ones((2, 60), np.float32))
    with pytest.raises(ValueError, match="61"):
        fit(np.ones((2, 60), np.float32))


def test_a_damaged_row_is_not_a_crash():
    """A row whose last number was lost comes out as not finite, for the index to refuse."""
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(fit(corpus(100)).transform(np.zeros((1, 61), np.float32))).all()


DAMAGE = {
    "a name missing": lambda state: state.pop("weights"),
    "a half missing": lambda state: state.pop("projection"),
    "a strange name": lambda state: state.update(colour=np.ones(3)),
    "not finite": lambda state: state.update(mean=np.full(60, np.nan, np.float32)),
    "text": lambda state: state.update(mean=np.array(["a"] * 60)),
    "negative sizes": lambda state: state.update(sizes=np.array([20, 50, -10])),
    "sizes that are no counts": lambda state: state.update(sizes=np.array([20.0, 30.0, 10.0])),
    "a weight missing": lambda state: state.update(weights=np.ones(2)),
    "a weight of nothing": lambda state: state.update(weights=np.zeros(3)),
    "no scale": lambda state: state.update(scale=np.zeros(1)),
    "two scales": lambda state: state.update(scale=np.ones(2)),
    "a short mean": lambda state: state.update(mean=np.zeros(59, np.float32)),
    "a short second mean": lambda state: state.update(second_mean=np.zeros(1, np.float32)),
    "a narrow projection": lambda state: state.update(projection=np.ones((59, 16), np.float32)),
    "an empty projection": lambda state: state.update(projection=np.ones((60, 0), np.float32)),
    "a flat projection": lambda state: state.update(projection=np.ones(60, np.float32)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_state_is_refused(damage):
    """Arrays that are not a whitening's are an IndexFileError that says what to do."""
    state = dict(fit(corpus(100)).state())
    damage(state)
    with pytest.raises(IndexFileError, match="rebuild"):
        restore("block_whitening", state)


def test_unknown_spaces_are_refused():
    """A space of another name, or an identity with arrays, is an IndexFileError."""
    with pytest.raises(IndexFileError, match="'hyperbolic'"):
        restore("hyperbolic", {})
    with pytest.raises(IndexFileError, match="no arrays"):
        restore("identity", {"mean": np.zeros(3)})
