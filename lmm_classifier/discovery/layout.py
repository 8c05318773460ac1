"""Positions in the plane, in which vectors that are near each other stay near.

Neighbors attract each other, and each point is pushed away from a few points drawn at random, as in UMAP (McInnes,
Healy & Melville, 2018, "UMAP: uniform manifold approximation and projection for dimension reduction"). All points move
at the same time, so that the same vectors give the same positions.
"""

from __future__ import annotations

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.linalg import single_threaded_blas
from lmm_classifier.core.progress import Progress, ProgressCallback
from lmm_classifier.discovery.nearest_rows import nearest_of

ROUNDS = 200
ROUNDS_AFTER_EDITS = 40
_RATE_AFTER_EDITS = 0.1
_PUSHED_BY = 5  # points drawn for each point in a round
_PUSH, _SOFTENING = 2.0, 0.1
_PULL_TO_CENTER = 0.005  # so that parts without a common neighbor do not drift apart
_EXTENT = 10.0  # the first positions are within -10 and 10
_FEW_NEW = 0.2  # fraction of new points up to which the others hardly move


def lay_out(neighbors: IntArray, positions: Float32Array, progress: ProgressCallback | None = None) -> Float32Array:
    """Return positions (n, 2) after `ROUNDS` rounds from first ones.

    Args:
        neighbors: (n, k) of each point.
        positions: (n, 2) the first ones, such as those of `first_positions`.
        progress: called after each round.
    """
    return _moved(neighbors, positions, ROUNDS, 1.0, progress)


def lay_out_again(
    neighbors: IntArray,
    rows: Float32Array,
    former: Float32Array,
    is_placed: np.ndarray[tuple[int], np.dtype[np.bool_]],
    progress: ProgressCallback | None = None,
) -> Float32Array:
    """Return positions (n, 2) in which points that have one hardly move, unless many are new.

    Args:
        neighbors: (n, k) of each point.
        rows: unit vectors (n, d).
        former: (n, 2) positions; those of new points are not read.
        is_placed: (n,) whether a point has a former position; at least one has.
        progress: called after each round.
    """
    positions = former.copy()
    placed, new = np.flatnonzero(is_placed), np.flatnonzero(~is_placed)
    near = placed[nearest_of(rows[new], rows[placed], 5)]
    # the neighbors of copies are the same, and copies on one point would never part
    aside = np.random.default_rng(1).normal(scale=0.05, size=(len(new), 2))
    positions[new] = former[near].mean(axis=1) + aside
    if len(new) > _FEW_NEW * len(rows):
        return _moved(neighbors, positions, ROUNDS, 1.0, progress)
    return _moved(neighbors, positions, ROUNDS_AFTER_EDITS, _RATE_AFTER_EDITS, progress)


@single_threaded_blas
def first_positions(rows: Float32Array) -> Float32Array:
    """Return positions (n, 2) by the ranks along the two directions in which vectors (n, d) differ most."""
    center = rows.mean(axis=0, dtype=np.float64)
    along = (rows - center.astype(np.float32)) @ principal_axes(rows, 2).astype(np.float32)
    positions = np.zeros((len(rows), 2), np.float32)
    for column in range(along.shape[1]):
        ranks = np.empty(len(rows))
        ranks[np.argsort(along[:, column], kind="stable")] = np.arange(len(rows))
        positions[:, column] = _EXTENT * ((ranks + 0.5) / len(rows) * 2 - 1)
    return positions


@single_threaded_blas
def principal_axes(rows: Float32Array, count: int) -> Float64Array:
    """Return the directions (d, count) in which vectors (n, d) differ most, each with a sign that is always the same.

    There are at most d of them.
    """
    centered = (rows - rows.mean(axis=0, dtype=np.float64)).astype(np.float64)
    axes = np.linalg.eigh(centered.T @ centered)[1][:, ::-1][:, :count]
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return np.asarray(axes * np.where(signs == 0, 1, signs))


def _moved(
    neighbors: IntArray, positions: Float32Array, rounds: int, rate: float, progress: ProgressCallback | None
) -> Float32Array:
    """Move all points by a step of at most `rate` in the first round, and by ever smaller ones."""
    x, y = np.ascontiguousarray(positions.T, np.float32)
    springs, rng = _Springs(neighbors), np.random.default_rng(0)
    for number in range(rounds):
        step_x, step_y = springs.pull(x, y)
        for _ in range(_PUSHED_BY):
            other = rng.integers(0, len(x), len(x), np.int32)
            away_x, away_y = x - x[other], y - y[other]
            squares = away_x * away_x + away_y * away_y
            push = _PUSH / ((_SOFTENING + squares) * (1 + squares))
            step_x += away_x * push
            step_y += away_y * push
        step_x -= _PULL_TO_CENTER * x
        step_y -= _PULL_TO_CENTER * y
        shorter = rate * (1 - number / rounds) / np.maximum(np.sqrt(step_x * step_x + step_y * step_y), 1)
        x += step_x * shorter
        y += step_y * shorter
        if progress is not None:
            progress(Progress("layout", number + 1, rounds))
    return np.stack([x, y], axis=1)


class _Springs:
    """The attraction between neighbors; each edge pulls at both of its ends."""

    def __init__(self, neighbors: IntArray) -> None:
        count, k = neighbors.shape
        self._shape = count, k
        self._from = np.repeat(np.arange(count), k)
        self._to = neighbors.ravel()
        edges = k + np.bincount(self._to, minlength=count)
        self._share = (2 / np.maximum(edges, 1)).astype(np.float32)  # points with many edges are not pulled harder

    def pull(self, x: Float32Array, y: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Return the pull at each point (n,), along both axes."""
        along_x, along_y = x[self._to] - x[self._from], y[self._to] - y[self._from]
        force = np.asarray(1 / (1 + along_x * along_x + along_y * along_y), np.float32)
        return self._summed(along_x * force), self._summed(along_y * force)

    def _summed(self, force: Float32Array) -> Float32Array:
        own = force.reshape(self._shape).sum(axis=1)
        others = np.bincount(self._to, force, len(own)).astype(np.float32)
        return np.asarray((own - others) * self._share)
