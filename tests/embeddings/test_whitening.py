"""Transforms give normalized rows with the same bits for any batch, for unusual datasets too."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.linalg import ReproducibleMatmul
from lmm_classifier.embeddings.whitening import (
    BlockWhitening,
    BlockWhiteningFitter,
    IdentityFitter,
    IdentityTransform,
    _axes_of_many,
    transform_from_arrays,
)
from tests.helpers.paths import ROOT

SIZES, WEIGHTS, SCALE = (20, 30, 10), (1.0, 1.0, 0.5), 7.0
FITTER = BlockWhiteningFitter(SIZES, WEIGHTS, SCALE, dim=16)
ODD_SHAPES = [(2483, 512), (512, 1), (512, 33), (300, 2999), (64, 17), (1, 5)]


def homogeneous(values, scale=SCALE):
    rows = np.column_stack([values, np.full(len(values), scale)])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def dataset(count, seed=0):
    """Return rows with a mean, correlated numbers and blocks of different units."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(60, 60)) * np.repeat([1, 0.1, 5], SIZES)
    return homogeneous(1 + random.normal(size=(count, 60)) @ mixing / 60)


def fit(rows, fitter=FITTER, block=10_000):
    return fitter.fit(lambda: (rows[start : start + block] for start in range(0, len(rows), block)))


def cosines(transform, rows):
    normalized = transform.transform(rows).astype(np.float64)
    return normalized @ normalized.T


@pytest.mark.parametrize(("depth", "columns"), ODD_SHAPES)
@pytest.mark.parametrize("transposed", [False, True])
def test_reproducible_product_is_a_product(depth, columns, transposed):
    """The result is the matrix product for any shape, memory order and scale of rows and columns."""
    random = np.random.default_rng(1)
    a = (random.normal(size=(35, depth)) * 10.0 ** random.integers(-6, 6, (35, 1))).astype(np.float32)
    b = (random.normal(size=(depth, columns)) * 10.0 ** random.integers(-6, 6, columns)).astype(np.float32)
    product = ReproducibleMatmul(np.asfortranarray(b) if transposed else b)(a)
    assert product.dtype == np.float32
    expected = a.astype(np.float64) @ b
    scale = np.linalg.norm(a, axis=1, keepdims=True) * np.linalg.norm(b, axis=0)
    assert (np.abs(product - expected) / scale).max() < 2e-6


@pytest.mark.parametrize(("depth", "columns"), ODD_SHAPES)
def test_reproducible_product_is_that_of_integers(depth, columns):
    """The result is that of Python's unlimited integers: no sum is rounded, so no order of summation changes it."""
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
    np.testing.assert_array_equal(ReproducibleMatmul(b)(a)[:, :5], expected)
    largest = max(abs(x) for row in integers for x in row)
    assert largest <= 2**bits, "otherwise float64 could not hold the sums"


@pytest.mark.parametrize(("depth", "columns"), ODD_SHAPES)
@pytest.mark.parametrize("size", [1, 7, 32, 64])
def test_rows_of_the_reproducible_product_do_not_depend_on_their_batch(depth, columns, size):
    """Rows have the same bits in batches of 1, 7, 32, 64 and 100."""
    random = np.random.default_rng(2)
    a = random.normal(size=(100, depth)).astype(np.float32)
    product = ReproducibleMatmul(random.normal(size=(columns, depth)).astype(np.float32).T)
    parts = [product(a[start : start + size]) for start in range(0, 100, size)]
    np.testing.assert_array_equal(np.concatenate(parts), product(a))


def test_reproducible_product_of_empty_and_infinite_rows():
    """No rows give no rows of the right width; zeros stay zeros; an infinite row changes no other row."""
    assert ReproducibleMatmul(np.ones((4, 3), np.float32))(np.empty((0, 4), np.float32)).shape == (0, 3)
    assert ReproducibleMatmul(np.ones((4, 0), np.float32))(np.ones((2, 4), np.float32)).shape == (2, 0)
    rows = np.array([[0, 0], [np.inf, 1], [np.nan, 1], [1, 2]], np.float32)
    product = ReproducibleMatmul(np.eye(2, dtype=np.float32))(rows)
    np.testing.assert_array_equal(product[[0, 3]], [[0, 0], [1, 2]])
    assert not np.isfinite(product[1:3]).any()


DIGEST = """
import hashlib
import numpy as np
from tests.embeddings.test_whitening import ODD_SHAPES
from lmm_classifier.core.linalg import ReproducibleMatmul
from lmm_classifier.embeddings.whitening import transform_from_arrays
random, digest = np.random.default_rng(3), hashlib.sha256()
for depth, columns in ODD_SHAPES:
    a, b = random.normal(size=(40, depth)), random.normal(size=(columns, depth))
    digest.update(ReproducibleMatmul(b.astype(np.float32).T)(a.astype(np.float32)).tobytes())
state = {
    "sizes": np.array([1400, 1083]), "weights": np.ones(2), "scale": np.ones(1), "mean": np.zeros(2483, np.float32),
    "second_mean": np.zeros(2483, np.float32), "projection": random.normal(size=(2483, 512)).astype(np.float32),
}
transform, rows = transform_from_arrays("block_whitening", state), random.normal(size=(40, 2484)).astype(np.float32)
digest.update(transform.transform(rows).tobytes())
print(digest.hexdigest())
"""


@pytest.mark.long
def test_bits_do_not_depend_on_threads():
    """The matrix library gives the same bits with one thread and with two."""
    digests = set()
    for threads in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", DIGEST], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout)
    assert len(digests) == 1


def test_identity_changes_nothing():
    """The identity returns the given rows and has no arrays."""
    rows = dataset(3)
    transform = IdentityFitter().fit(lambda: [rows])
    assert transform.name == "identity"
    assert transform.transform(rows) is rows
    assert dict(transform.to_arrays()) == {}
    assert isinstance(transform_from_arrays("identity", {}), IdentityTransform)


@pytest.mark.parametrize("count", [40, 200])
def test_whitened_rows_are_normalized(count):
    """Rows are finite, float32, of norm 1 and of min(dim, n - 1) numbers, fitted on few rows or many."""
    transform = fit(dataset(count))
    rows = transform.transform(dataset(50, seed=5))
    assert (rows.shape, rows.dtype) == ((50, 16), np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert fit(dataset(9)).transform(dataset(4)).shape == (4, 8)


def test_whitening_follows_its_formula():
    """The cosines are those of the formula in float64 with the eigenvectors of the covariance."""
    rows = dataset(200)
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
    """Wide rows, whose axes are found in a subspace, have the cosines that all eigenvectors give."""
    random = np.random.default_rng(11)
    spread = np.arange(1, 601) ** -0.7  # as features of images decay, or slower
    rows = random.normal(size=(900, 600)) * spread
    mean, (variances, axes) = _axes_of_many([rows[:500], rows[500:]], 600, 64)
    np.testing.assert_allclose(mean, rows.mean(axis=0), atol=1e-12)
    all_variances, all_axes = np.linalg.eigh(np.cov(rows.T, bias=True))
    np.testing.assert_allclose(variances[:64], all_variances[::-1][:64], rtol=1e-4)
    approximate, exact = rows @ axes[:, :64], rows @ all_axes[:, ::-1][:, :64]
    norms = np.linalg.norm(exact, axis=1)
    assert np.abs(approximate @ approximate.T - exact @ exact.T).max() < 1e-3 * norms.max() ** 2


def test_normalized_rows_hold_their_norms():
    """Another homogeneous scale gives the same similarities."""
    values = np.random.default_rng(6).normal(size=(50, 60)) * 5
    other = BlockWhiteningFitter(SIZES, WEIGHTS, scale=70.0, dim=16)
    rows, rescaled = homogeneous(values), homogeneous(values, scale=70.0)
    np.testing.assert_allclose(cosines(fit(rows), rows), cosines(fit(rescaled, other), rescaled), atol=1e-4)


@pytest.mark.parametrize("count", [40, 200])
@pytest.mark.parametrize("block", [1, 7, 64])
def test_streamed_fit_is_the_whole_fit(count, block):
    """A dataset read in small blocks gives the transform of the dataset read at once."""
    rows = dataset(count)
    np.testing.assert_allclose(cosines(fit(rows, block=block), rows), cosines(fit(rows), rows), atol=1e-5)


def test_few_and_many_rows_give_the_same_transform():
    """The Gram matrix of 40 rows and the covariance of the same rows three times give the same transform."""
    rows = dataset(40)
    np.testing.assert_allclose(cosines(fit(np.tile(rows, (3, 1))), rows), cosines(fit(rows), rows), atol=1e-4)


def test_memory_does_not_grow_with_the_dataset():
    """A fit reads a dataset in blocks, more than once, and stores none of them."""

    def peak(blocks):
        tracemalloc.start()
        FITTER.fit(lambda: (dataset(500, seed) for seed in range(blocks)))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(1)  # first calls fill caches
    assert peak(20) < 1.2 * peak(2)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_transform_does_not_depend_on_the_batch(sizes):
    """Any split of the rows gives the same bits."""
    transform, rows = fit(dataset(100)), dataset(sum(sizes), seed=8)
    ends = np.cumsum(sizes)
    parts = [transform.transform(rows[end - size : end]) for size, end in zip(sizes, ends)]
    np.testing.assert_array_equal(np.concatenate(parts), transform.transform(rows))


def test_no_rows_give_no_rows():
    """An empty batch has the width of the transform."""
    assert fit(dataset(100)).transform(np.empty((0, 61), np.float32)).shape == (0, 16)


@pytest.mark.parametrize("picked", [[], [0], [0, 1], [0] * 5, [0, 1] * 5, [0] * 100, [0, 0, 1] * 100], ids=str)
def test_datasets_without_spread(picked):
    """With no image, one or two, or only copies, rows are normalized, and only equal images have cosine 1."""
    rows = dataset(3)
    similarities = cosines(fit(rows[picked]), rows)
    np.testing.assert_allclose(np.diag(similarities), 1, atol=1e-6)
    assert (similarities[~np.eye(3, dtype=bool)] < 0.9999).all()


def test_three_images_are_enough_to_center():
    """The smallest dataset that is whitened gives normalized rows."""
    rows = dataset(3)
    np.testing.assert_allclose(np.diag(cosines(fit(rows), rows)), 1, atol=1e-6)
    assert "projection" in fit(rows).to_arrays()


@pytest.mark.parametrize("count", [2, 100])
def test_round_trip_of_arrays(count, tmp_path):
    """A transform that is rebuilt from its stored arrays gives the same bits."""
    transform = fit(dataset(count))
    np.savez(tmp_path / "transform.npz", **transform.to_arrays())
    with np.load(tmp_path / "transform.npz", allow_pickle=False) as arrays:
        rebuilt = transform_from_arrays(transform.name, dict(arrays))
    assert isinstance(rebuilt, BlockWhitening)
    assert rebuilt.name == "block_whitening"
    rows = dataset(40, seed=9)
    np.testing.assert_array_equal(rebuilt.transform(rows), transform.transform(rows))


def test_rows_of_another_width_are_refused():
    """Rows of another width raise an error that names both widths, in fit and in transform."""
    with pytest.raises(ValueError, match=r"\(n, 61\), got \(2, 60\)"):
        fit(dataset(100)).transform(np.ones((2, 60), np.float32))
    with pytest.raises(ValueError, match="61"):
        fit(np.ones((2, 60), np.float32))


def test_a_damaged_row_raises_no_error():
    """A row whose last number is 0 gives an infinite row, which the index refuses."""
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(fit(dataset(100)).transform(np.zeros((1, 61), np.float32))).all()


DAMAGE = {
    "a name missing": lambda arrays: arrays.pop("weights"),
    "a half missing": lambda arrays: arrays.pop("projection"),
    "a strange name": lambda arrays: arrays.update(color=np.ones(3)),
    "not finite": lambda arrays: arrays.update(mean=np.full(60, np.nan, np.float32)),
    "text": lambda arrays: arrays.update(mean=np.array(["a"] * 60)),
    "negative sizes": lambda arrays: arrays.update(sizes=np.array([20, 50, -10])),
    "sizes that are no counts": lambda arrays: arrays.update(sizes=np.array([20.0, 30.0, 10.0])),
    "a weight missing": lambda arrays: arrays.update(weights=np.ones(2)),
    "a weight of nothing": lambda arrays: arrays.update(weights=np.zeros(3)),
    "no scale": lambda arrays: arrays.update(scale=np.zeros(1)),
    "two scales": lambda arrays: arrays.update(scale=np.ones(2)),
    "a short mean": lambda arrays: arrays.update(mean=np.zeros(59, np.float32)),
    "a short second mean": lambda arrays: arrays.update(second_mean=np.zeros(1, np.float32)),
    "a narrow projection": lambda arrays: arrays.update(projection=np.ones((59, 16), np.float32)),
    "an empty projection": lambda arrays: arrays.update(projection=np.ones((60, 0), np.float32)),
    "a projection of one axis": lambda arrays: arrays.update(projection=np.ones(60, np.float32)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_arrays_are_refused(damage):
    """Arrays that are not those of a whitening raise an IndexFileError that says what to do."""
    arrays = dict(fit(dataset(100)).to_arrays())
    damage(arrays)
    with pytest.raises(IndexFileError, match="rebuild"):
        transform_from_arrays("block_whitening", arrays)


def test_unknown_transforms_are_refused():
    """A transform of another name, or an identity with arrays, is an IndexFileError."""
    with pytest.raises(IndexFileError, match="'hyperbolic'"):
        transform_from_arrays("hyperbolic", {})
    with pytest.raises(IndexFileError, match="no arrays"):
        transform_from_arrays("identity", {"mean": np.zeros(3)})
