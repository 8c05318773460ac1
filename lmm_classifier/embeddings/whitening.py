"""Spaces: transforms in which neighbours are searched, fitted on a corpus in closed form, without its labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.linalg import ExactProduct, on_one_thread
from lmm_classifier.core.protocols import FloatArray, Rows, Space

Float = TypeVar("Float", np.float32, np.float64)
DoubleArray = NDArray[np.float64]
State = Mapping[str, NDArray[Any]]

_MANTISSA = 53  # bits of a float64
_TINY = 1e-12  # keeps a row without length at zero instead of NaN
_SAME = 1e-6  # a centred block shorter than this is rounding: it has no direction
_ITERATIONS = 6  # of the subspace: each shrinks its error by the ratio of the variances inside and outside of it
_SPARE = 64  # more dimensions of the subspace, for the sake of small ones
_FLAT = 1e-9  # axes with less than this share of the largest variance are rounding too


class IdentitySpace:
    """The encoder's own space: unit vectors are compared as they are."""

    name: str = "identity"

    @property
    def recipe(self) -> IdentityRecipe:
        """Fits nothing."""
        return IdentityRecipe()

    def transform(self, vectors: FloatArray) -> FloatArray:
        """Return the unit rows (n, dim) unchanged."""
        return vectors

    def state(self) -> State:
        """Nothing to keep."""
        return {}


@dataclass(frozen=True, slots=True)
class IdentityRecipe:
    """The recipe of an encoder that was trained for cosine similarity: nothing is fitted."""

    def fit(self, rows: Rows) -> Space:  # noqa: ARG002
        """Return the identity without looking at the corpus."""
        return IdentitySpace()


class BlockWhitening:
    """Whitened concatenation of blocks of features that have different units.

    The input rows are homogeneous, (v, scale) / ||(v, scale)||: unit rows from which v is regained, length and all.
    Then v - mean, each block to unit length times its weight, - second_mean, projection, unit length.
    Without a projection (a corpus with less than two directions of spread) it ends after the weights.
    """

    name: str = "block_whitening"

    def __init__(self, recipe: BlockWhiteningRecipe, centre: FloatArray, whitening: Whitening | None) -> None:
        self.recipe = recipe
        self._centre = centre  # (sum of sizes,)
        self._whitening = whitening
        self._project = ExactProduct(whitening.projection) if whitening else None

    def transform(self, vectors: FloatArray) -> FloatArray:
        """Map homogeneous unit rows (n, dim) to whitened unit rows (n, d); bit-identical for any split of the rows."""
        self.recipe.check_width(vectors)
        rows = self.recipe.normalised(vectors, self._centre)
        if self._whitening is not None and self._project is not None:
            rows = self._project(rows - self._whitening.centre)
        return _unit(rows)

    def state(self) -> State:
        """Return the recipe's sizes, weights and scale, the mean, and, if fitted, the second mean and projection."""
        recipe: dict[str, NDArray[Any]] = {
            "sizes": np.array(self.recipe.sizes, np.int64),
            "weights": np.array(self.recipe.weights, np.float64),
            "scale": np.array([self.recipe.scale], np.float64),
            "mean": self._centre,
        }
        if self._whitening is None:
            return recipe
        return recipe | {"second_mean": self._whitening.centre, "projection": self._whitening.projection}


@dataclass(frozen=True, slots=True)
class Whitening:
    """A centre (d,) and a projection (d, k) whose axes are scaled by their spread."""

    centre: FloatArray
    projection: FloatArray


@dataclass(frozen=True, slots=True)
class BlockWhiteningRecipe:
    """How blocks of features are whitened: `sizes` and `weights` of the blocks in order, the homogeneous `scale`.

    At most `dim` principal axes are kept, each divided by sqrt(variance + shrink * mean variance of the kept axes):
    0 whitens fully, a large `shrink` only rotates.
    """

    sizes: tuple[int, ...]
    weights: tuple[float, ...]
    scale: float
    dim: int = 512
    shrink: float = 0.5

    @on_one_thread
    def fit(self, rows: Rows) -> BlockWhitening:
        """Fit in two walks over the corpus; memory does not grow with it beyond (width, width) float64."""
        count, total = 0, np.zeros(sum(self.sizes))
        for block in rows():
            self.check_width(block)
            count += len(block)
            total += self._regained(block.astype(np.float64)).sum(axis=0)
        mean = total / max(count, 1)
        whitening = self._whiten(rows, mean, count) if count > 2 else None
        if whitening is None:  # nothing to centre on: compare the blocks as they are
            return BlockWhitening(self, np.zeros(len(mean), np.float32), None)
        return BlockWhitening(self, mean.astype(np.float32), whitening)

    def check_width(self, rows: FloatArray) -> None:
        """Raise ValueError unless `rows` are (n, sum of sizes + 1)."""
        if rows.ndim != 2 or rows.shape[1] != sum(self.sizes) + 1:
            raise ValueError(f"expected homogeneous rows (n, {sum(self.sizes) + 1}), got {rows.shape}")

    def normalised(self, rows: NDArray[Float], mean: NDArray[Float]) -> NDArray[Float]:
        """Centre on `mean` and bring every block to the length of its weight, (n, sum of sizes)."""
        values = self._regained(rows) - mean
        start = 0
        for size, weight in zip(self.sizes, self.weights):
            block = values[:, start : start + size]
            block *= weight / (_lengths(block) + _SAME)
            start += size
        return values

    def _regained(self, rows: NDArray[Float]) -> NDArray[Float]:
        """Undo the homogeneous scaling; a row that lost its last number becomes infinite, not an exception."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return rows[:, :-1] * (rows.dtype.type(self.scale) / rows[:, -1:])

    def _whiten(self, rows: Rows, mean: DoubleArray, count: int) -> Whitening | None:
        blocks = (self.normalised(block.astype(np.float64), mean) for block in rows())
        many = count > len(mean)
        centre, (variances, axes) = _axes_of_many(blocks, len(mean), self.dim) if many else _axes_of_few(blocks)
        keep = variances > _FLAT * max(variances[0], _TINY)
        keep[min(self.dim, count - 1) :] = False
        if keep.sum() < 2:
            return None
        variances, axes = variances[keep], axes[:, keep]
        projection = axes / np.sqrt(variances + self.shrink * variances.mean())
        return Whitening(centre.astype(np.float32), np.ascontiguousarray(projection, np.float32))


def _axes_of_many(
    blocks: Iterable[DoubleArray], width: int, dim: int
) -> tuple[DoubleArray, tuple[DoubleArray, DoubleArray]]:
    """Find the mean and the `dim` first principal axes from the covariance, accumulated block by block.

    The covariance (width, width) is the largest array of a build, and LAPACK's solver needs five more of its size. So
    it is solved within a subspace of twice the axes wanted, found by subspace iteration (Halko, Martinsson & Tropp,
    arXiv 0909.4061, algorithm 4.4). On photographs that moves cosines by 1e-5 at most.
    """
    count, total, covariance = 0, np.zeros(width), np.zeros((width, width))
    for block in blocks:
        count += len(block)
        total += block.sum(axis=0)
        covariance += block.T @ block
    block = np.empty(0)  # the last one is not kept while the most memory is needed
    mean = total / count
    covariance /= count
    covariance -= np.outer(mean, mean)
    basis = np.random.default_rng(0).normal(size=(width, min(width, 2 * dim + _SPARE)))
    for _ in range(_ITERATIONS):
        basis = covariance @ basis  # the former one is let go before more room is needed
        basis, _ = np.linalg.qr(basis)
    variances, axes = np.linalg.eigh(basis.T @ (covariance @ basis))
    return mean, (variances[::-1], basis @ axes[:, ::-1])


def _axes_of_few(blocks: Iterable[DoubleArray]) -> tuple[DoubleArray, tuple[DoubleArray, DoubleArray]]:
    """Find the same from the (n, n) Gram matrix, which is the smaller one where there are fewer rows than columns."""
    rows = np.concatenate(list(blocks))
    mean = rows.mean(axis=0)
    rows -= mean
    values, vectors = np.linalg.eigh(rows @ rows.T)
    values, vectors = values[::-1], vectors[:, ::-1]
    axes = rows.T @ (vectors / np.sqrt(np.maximum(values, _TINY)))  # (width, n), unit columns where values > 0
    return mean, (values / len(rows), axes)


def _lengths(rows: NDArray[Float]) -> NDArray[Float]:
    lengths: NDArray[Float] = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    return lengths


def _unit(rows: FloatArray) -> FloatArray:
    lengths = _lengths(rows)
    lengths[lengths < _TINY] = 1
    return rows / lengths


def restore(name: str, state: State) -> Space:
    """Rebuild the space `name` from its stored arrays; raises IndexFileError if they are not that space's."""
    if name == IdentitySpace.name:
        _require(not state, f"the identity space has no arrays, got {', '.join(sorted(state))}")
        return IdentitySpace()
    _require(name == BlockWhitening.name, f"unknown space {name!r}, expected identity or block_whitening")
    return _restore_block_whitening(state)


def _restore_block_whitening(state: State) -> BlockWhitening:
    always, fitted = {"sizes", "weights", "scale", "mean"}, {"second_mean", "projection"}
    _require(set(state) in (always, always | fitted), f"arrays of block_whitening are {', '.join(sorted(state))}")
    for name, array in state.items():
        _require(array.dtype.kind in "fiu" and bool(np.isfinite(array).all()), f"{name} is not made of finite numbers")
    sizes, weights, scale, mean = (state[name] for name in ("sizes", "weights", "scale", "mean"))
    _require(sizes.ndim == 1 and sizes.dtype.kind in "iu" and bool((sizes > 0).all()), "sizes are not counts")
    _require(weights.shape == sizes.shape and bool((weights > 0).all()), "weights do not match the sizes")
    _require(scale.shape == (1,) and scale[0] > 0, "scale is not one positive number")
    width = sum(map(int, sizes))
    _require(mean.shape == (width,), f"mean is {mean.shape}, expected ({width},)")
    recipe = BlockWhiteningRecipe(tuple(map(int, sizes)), tuple(map(float, weights)), float(scale[0]))
    if "projection" not in state:
        return BlockWhitening(recipe, mean.astype(np.float32), None)
    centre, projection = state["second_mean"], state["projection"]
    _require(centre.shape == (width,), f"second_mean is {centre.shape}, expected ({width},)")
    _require(projection.ndim == 2 and len(projection) == width and projection.size > 0, "projection has a wrong shape")
    whitening = Whitening(centre.astype(np.float32), np.ascontiguousarray(projection, np.float32))
    return BlockWhitening(recipe, mean.astype(np.float32), whitening)


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise IndexFileError(f"damaged index: {problem}; rebuild it with `lmm-classifier build`")
