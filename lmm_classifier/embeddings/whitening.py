"""Transforms of embeddings in which neighbors are searched, fitted on a dataset in closed form without its labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import Arrays, Float32Array, Float64Array
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.linalg import ReproducibleMatmul, single_threaded_blas
from lmm_classifier.core.protocols import Rows, Transform

Float = TypeVar("Float", np.float32, np.float64)

_TINY = 1e-12  # keeps a zero row at zero instead of NaN
_SAME = 1e-6  # a centered block with a smaller norm is rounding and has no direction
_ITERATIONS = 6  # of the subspace; each reduces its error by the ratio of the variances outside and inside
_SPARE = 64  # additional dimensions of the subspace, which matter where it is small
_FLAT = 1e-9  # axes with less than this fraction of the largest variance are rounding too


class IdentityTransform:
    """The encoder's own space: embeddings are compared as they are."""

    name: str = "identity"

    @property
    def fitter(self) -> IdentityFitter:
        """A fitter that fits nothing."""
        return IdentityFitter()

    def transform(self, vectors: Float32Array) -> Float32Array:
        """Return the normalized embeddings (n, dim) unchanged."""
        return vectors

    def to_arrays(self) -> Arrays:
        """Return no array."""
        return {}


@dataclass(frozen=True, slots=True)
class IdentityFitter:
    """The fitter of an encoder that was trained for cosine similarity: it fits nothing."""

    def fit(self, rows: Rows) -> Transform:  # noqa: ARG002
        """Return the identity; the dataset is not read."""
        return IdentityTransform()


class BlockWhitening:
    """Whitened concatenation of blocks of features that have different units.

    The input rows are homogeneous, (v, scale) / ||(v, scale)||: normalized rows from which v is recovered exactly. The
    steps are v - mean, each block divided by its norm and multiplied by its weight, - second_mean, projection,
    normalization. Without a projection (a dataset that varies in fewer than two directions) they end after the weights.
    """

    name: str = "block_whitening"

    def __init__(self, fitter: BlockWhiteningFitter, center: Float32Array, whitening: Whitening | None) -> None:
        self.fitter = fitter
        self._center = center  # (sum of sizes,)
        self._whitening = whitening
        self._project = ReproducibleMatmul(whitening.projection) if whitening else None

    def transform(self, vectors: Float32Array) -> Float32Array:
        """Map homogeneous rows (n, dim) to whitened normalized rows (n, d); the bits do not depend on the batch."""
        self.fitter.check_width(vectors)
        rows = self.fitter.normalized(vectors, self._center)
        if self._whitening is not None and self._project is not None:
            rows = self._project(rows - self._whitening.center)
        return _normalize(rows)

    def to_arrays(self) -> Arrays:
        """Return the fitter's sizes, weights and scale, the mean, and, if fitted, the second mean and projection."""
        arrays: dict[str, NDArray[Any]] = {
            "sizes": np.array(self.fitter.sizes, np.int64),
            "weights": np.array(self.fitter.weights, np.float64),
            "scale": np.array([self.fitter.scale], np.float64),
            "mean": self._center,
        }
        if self._whitening is None:
            return arrays
        return arrays | {"second_mean": self._whitening.center, "projection": self._whitening.projection}


@dataclass(frozen=True, slots=True)
class Whitening:
    """A center (d,) and a projection (d, k) whose axes are divided by their standard deviations."""

    center: Float32Array
    projection: Float32Array


@dataclass(frozen=True, slots=True)
class BlockWhiteningFitter:
    """Fits a block whitening: `sizes` and `weights` of the blocks in order, and the homogeneous `scale`.

    At most `dim` principal axes are used, each divided by sqrt(variance + shrink * mean variance of the used axes). A
    `shrink` of 0 whitens fully, a large one only rotates.
    """

    sizes: tuple[int, ...]
    weights: tuple[float, ...]
    scale: float
    dim: int = 512
    shrink: float = 0.5

    @single_threaded_blas
    def fit(self, rows: Rows) -> BlockWhitening:
        """Fit in two passes over the dataset; memory does not grow with it beyond (width, width) float64."""
        count, total = 0, np.zeros(sum(self.sizes))
        for block in rows():
            self.check_width(block)
            count += len(block)
            total += self._recovered(block.astype(np.float64)).sum(axis=0)
        mean = total / max(count, 1)
        whitening = self._whiten(rows, mean, count) if count > 2 else None
        if whitening is None:  # there is no spread to center on, so the blocks are compared as they are
            return BlockWhitening(self, np.zeros(len(mean), np.float32), None)
        return BlockWhitening(self, mean.astype(np.float32), whitening)

    def check_width(self, rows: Float32Array) -> None:
        """Raise ValueError unless `rows` are (n, sum of sizes + 1)."""
        if rows.ndim != 2 or rows.shape[1] != sum(self.sizes) + 1:
            raise ValueError(f"expected homogeneous rows (n, {sum(self.sizes) + 1}), got {rows.shape}")

    def normalized(self, rows: NDArray[Float], mean: NDArray[Float]) -> NDArray[Float]:
        """Center on `mean` and scale every block to the norm of its weight, (n, sum of sizes)."""
        values = self._recovered(rows) - mean
        start = 0
        for size, weight in zip(self.sizes, self.weights):
            block = values[:, start : start + size]
            block *= weight / (_norms(block) + _SAME)
            start += size
        return values

    def _recovered(self, rows: NDArray[Float]) -> NDArray[Float]:
        """Undo the homogeneous scaling; a row whose last number is 0 becomes infinite and raises no error."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return rows[:, :-1] * (rows.dtype.type(self.scale) / rows[:, -1:])

    def _whiten(self, rows: Rows, mean: Float64Array, count: int) -> Whitening | None:
        blocks = (self.normalized(block.astype(np.float64), mean) for block in rows())
        many = count > len(mean)
        center, (variances, axes) = _axes_of_many(blocks, len(mean), self.dim) if many else _axes_of_few(blocks)
        used = variances > _FLAT * max(variances[0], _TINY)
        used[min(self.dim, count - 1) :] = False
        if used.sum() < 2:
            return None
        variances, axes = variances[used], axes[:, used]
        projection = axes / np.sqrt(variances + self.shrink * variances.mean())
        return Whitening(center.astype(np.float32), np.ascontiguousarray(projection, np.float32))


def _axes_of_many(
    blocks: Iterable[Float64Array], width: int, dim: int
) -> tuple[Float64Array, tuple[Float64Array, Float64Array]]:
    """Return the mean, variances and principal axes from the covariance, accumulated block by block.

    The covariance (width, width) is the largest array of a build, and LAPACK's solver needs five more of its size. So
    the solver works in a subspace of twice the wanted axes, found by subspace iteration (Halko, Martinsson & Tropp,
    arXiv 0909.4061, algorithm 4.4). On photographs that changes cosines by 1e-5 at most.
    """
    count, total, covariance = 0, np.zeros(width), np.zeros((width, width))
    for block in blocks:
        count += len(block)
        total += block.sum(axis=0)
        covariance += block.T @ block
    block = np.empty(0)  # frees the last block before the step that needs the most memory
    mean = total / count
    covariance /= count
    covariance -= np.outer(mean, mean)
    basis = np.random.default_rng(0).normal(size=(width, min(width, 2 * dim + _SPARE)))
    for _ in range(_ITERATIONS):
        basis = covariance @ basis  # frees the former basis before the next step needs memory
        basis, _ = np.linalg.qr(basis)
    variances, axes = np.linalg.eigh(basis.T @ (covariance @ basis))
    return mean, (variances[::-1], basis @ axes[:, ::-1])


def _axes_of_few(blocks: Iterable[Float64Array]) -> tuple[Float64Array, tuple[Float64Array, Float64Array]]:
    """Return the same from the (n, n) Gram matrix, which is smaller where there are fewer rows than columns."""
    rows = np.concatenate(list(blocks))
    mean = rows.mean(axis=0)
    rows -= mean
    values, vectors = np.linalg.eigh(rows @ rows.T)
    values, vectors = values[::-1], vectors[:, ::-1]
    axes = rows.T @ (vectors / np.sqrt(np.maximum(values, _TINY)))  # (width, n), columns of norm 1 where values > 0
    return mean, (values / len(rows), axes)


def _norms(rows: NDArray[Float]) -> NDArray[Float]:
    norms: NDArray[Float] = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    return norms


def _normalize(rows: Float32Array) -> Float32Array:
    norms = _norms(rows)
    norms[norms < _TINY] = 1
    return rows / norms


def transform_from_arrays(name: str, arrays: Arrays) -> Transform:
    """Rebuild the transform `name` from its stored arrays; raises IndexFileError if they are not those of it."""
    if name == IdentityTransform.name:
        _require(not arrays, f"the identity has no arrays, got {', '.join(sorted(arrays))}")
        return IdentityTransform()
    _require(name == BlockWhitening.name, f"unknown transform {name!r}, expected identity or block_whitening")
    return _block_whitening_from_arrays(arrays)


def _block_whitening_from_arrays(arrays: Arrays) -> BlockWhitening:
    required, fitted = {"sizes", "weights", "scale", "mean"}, {"second_mean", "projection"}
    _require(set(arrays) in (required, required | fitted), f"arrays of block_whitening are {', '.join(sorted(arrays))}")
    for name, array in arrays.items():
        _require(
            array.dtype.kind in "fiu" and bool(np.isfinite(array).all()),
            f"{name} holds values that are not finite numbers",
        )
    sizes, weights, scale, mean = (arrays[name] for name in ("sizes", "weights", "scale", "mean"))
    _require(sizes.ndim == 1 and sizes.dtype.kind in "iu" and bool((sizes > 0).all()), "sizes are not counts")
    _require(weights.shape == sizes.shape and bool((weights > 0).all()), "weights do not match the sizes")
    _require(scale.shape == (1,) and scale[0] > 0, "scale is not one positive number")
    width = sum(map(int, sizes))
    _require(mean.shape == (width,), f"mean is {mean.shape}, expected ({width},)")
    fitter = BlockWhiteningFitter(tuple(map(int, sizes)), tuple(map(float, weights)), float(scale[0]))
    if "projection" not in arrays:
        return BlockWhitening(fitter, mean.astype(np.float32), None)
    center, projection = arrays["second_mean"], arrays["projection"]
    _require(center.shape == (width,), f"second_mean is {center.shape}, expected ({width},)")
    _require(projection.ndim == 2 and len(projection) == width and projection.size > 0, "projection has a wrong shape")
    whitening = Whitening(center.astype(np.float32), np.ascontiguousarray(projection, np.float32))
    return BlockWhitening(fitter, mean.astype(np.float32), whitening)


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise IndexFileError(f"damaged index: {problem}; rebuild it with `lmm-classifier build`")
