"""The order in which unlabeled images are worth an answer: each pick stands for many that no pick or example resembles.

This is greedy maximization of weighted facility location, which is within 1 - 1/e of the best choice of that size
(Nemhauser, Wolsey & Fisher, 1978, "An analysis of approximations for maximizing submodular set functions",
Mathematical Programming 14). Three weights make three orders of it: see `cold_start`, `ambiguity` and `novelty`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
from lmm_classifier.core.linalg import single_threaded_blas

MOST = 5000  # images compared with each other: 100 MB of similarities
_SAME = 1e-5  # relative: smaller differences of a gain are rounding
_BLOCK = 1024  # labeled images compared at a time
_AT_ONCE = 32  # gains computed anew together


def cold_start(count: int) -> Float64Array:
    """Return the weights (count,) where nothing is known: every image counts alike."""
    return np.ones(count)


def ambiguity(probabilities: Float64Array) -> Float64Array:
    """Return the weights (n,) of images whose labels compete: 1 minus the margin between the two best labels.

    `probabilities` is (n, C) of the labels.
    """
    if probabilities.shape[1] < 2:
        return np.asarray(1 - probabilities.max(axis=1, initial=0))
    second, best = np.sort(probabilities, axis=1)[:, -2:].T
    return np.asarray(np.clip(1 - (best - second), 0, 1))


def novelty(familiarity: Float64Array, held_out: Float64Array) -> Float64Array:
    """Return the weights (n,) of images that may be of a new label: the square of 1 - p.

    p is the conformal p-value: the fraction of the known images that are at most as familiar.

    Args:
        familiarity: (n,) of the images, higher is more familiar.
        held_out: (N,) ascending, of the examples, each held out.
    """
    p = (1 + np.searchsorted(held_out, familiarity, side="right")) / (len(held_out) + 1)
    return np.asarray((1 - np.minimum(p, 1)) ** 2)


def either(first: Float64Array, second: Float64Array) -> Float64Array:
    """Return the weights (n,) of images that count for one reason or for another one."""
    return np.asarray(1 - (1 - first) * (1 - second))


@dataclass(frozen=True)
class Cover:
    """Images in the order in which they are worth an answer, and what each of them adds."""

    rows: IntArray  # (k,) of the images
    gains: Float64Array  # (k,) summed weight times similarity that each adds; 0 where it adds nothing


@single_threaded_blas
def cover(
    embeddings: Float32Array,
    weights: Float64Array,
    ids: Sequence[str],
    count: int,
    labeled: Float32Array | None = None,
    most: int = MOST,
) -> Cover:
    """Return `count` images, the one first that stands for the most weight not covered yet.

    The similarity of two images is the square of their cosine, 0 where that is negative. A pick covers each image by
    their similarity.
    The result depends on the set of images alone, not on their order. Of equal images the one with the least id
    comes first. Where no image adds anything, the heavier comes first, then the one with the least id.

    Of more than `most` images a sample takes part: priority sampling by weight (Duffield, Lund & Thorup, 2007,
    "Priority sampling for estimation of arbitrary subset sums", JACM 54(6)), drawn from the ids. So the sums that it
    compares are unbiased, and time and memory do not grow: 5,000 images take 100 MB.

    Args:
        embeddings: normalized rows (n, d).
        weights: (n,) at least 0; how much it matters that an image is covered.
        ids: n different texts.
        count: images to return, fewer where there are fewer.
        labeled: normalized rows (m, d) of labeled images, which cover what resembles them; None where there are none.
        most: images that are compared with each other.
    """
    in_order = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
    sample, sampled_weights = _sample(np.asarray(weights, np.float64)[in_order], [ids[row] for row in in_order], most)
    rows = in_order[sample]
    if not len(rows) or count <= 0:
        return Cover(rows[:0], np.empty(0))
    chosen = embeddings[rows]
    picks, gains = _greedy(
        _similarities(chosen, chosen), sampled_weights.astype(np.float32), _covered(chosen, labeled), count
    )
    rest = np.setdiff1d(np.arange(len(rows)), picks)
    rest = rest[np.argsort(-np.asarray(weights)[rows[rest]], kind="stable")][: max(count - len(picks), 0)]
    return Cover(rows[np.concatenate([picks, rest])], np.concatenate([gains, np.zeros(len(rest))]))


def _similarities(embeddings: Float32Array, others: Float32Array) -> Float32Array:
    """Return the similarities (n, m) of unit vectors (n, d) and (m, d), 0 to 1."""
    similarities = embeddings @ others.T
    # the product of a row with a copy may exceed 1 in its last bit
    np.clip(similarities, 0, 1, out=similarities)
    np.square(similarities, out=similarities)
    return similarities


def _covered(embeddings: Float32Array, labeled: Float32Array | None) -> Float32Array:
    """Return the similarity (n,) of each image with the nearest labeled one."""
    nearest = np.zeros(len(embeddings), np.float32)
    if labeled is not None:
        for start in range(0, len(labeled), _BLOCK):
            similarities = _similarities(embeddings, labeled[start : start + _BLOCK])
            np.maximum(nearest, similarities.max(axis=1), out=nearest)
    return nearest


def _sample(weights: Float64Array, ids: Sequence[str], most: int) -> tuple[IntArray, Float64Array]:
    """Return at most `most` rows, ascending, and weights for them whose sums estimate those of all."""
    if len(weights) <= most:
        return np.arange(len(weights)), weights
    uniform = np.array([drawn_number(name) for name in ids])
    if not weights.any():
        return np.sort(np.argsort(uniform, kind="stable")[:most]), np.zeros(most)
    priorities = weights / uniform
    in_order = np.argsort(-priorities, kind="stable")
    rows = np.sort(in_order[:most])
    return rows, np.where(weights[rows] > 0, np.maximum(weights[rows], priorities[in_order[most]]), 0)


def drawn_number(name: str) -> float:
    """Return a number between 0 and 1 that looks drawn, and is always the same for a name."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 0.5) / 2**64


def shuffled(names: Sequence[str]) -> list[str]:
    """Return texts that sort as if the names were drawn at random, always the same for a name."""
    return [f"{drawn_number(name):.18f} {name}" for name in names]


def _greedy(
    similarities: Float32Array, weights: Float32Array, covered: Float32Array, count: int
) -> tuple[IntArray, Float64Array]:
    """Pick rows of similarities (n, n) while one adds something; return them and what each added.

    Gains only fall from pick to pick. So a former gain is a bound, and only rows with a high bound are computed anew
    (Minoux, 1978, "Accelerated greedy algorithms for maximizing submodular set functions").
    """
    bounds = np.full(len(weights), np.inf)
    picks, gains = list[int](), list[float]()
    least = _SAME * float(weights.sum())
    while len(picks) < min(count, len(weights)):
        pick, gain = _best(similarities, weights, covered, bounds)
        if gain <= least:
            break
        picks.append(pick)
        gains.append(gain)
        covered = np.maximum(covered, similarities[pick])
        bounds[pick] = -np.inf
    return np.array(picks, np.int64), np.array(gains, np.float64)


def _best(
    similarities: Float32Array, weights: Float32Array, covered: Float32Array, bounds: Float64Array
) -> tuple[int, float]:
    """Return the first row of the largest gain, and that gain; `bounds` (n,) are made tighter."""
    is_new: BoolArray = np.zeros(len(bounds), np.bool_)
    while True:
        best = float(bounds[is_new].max(initial=-np.inf))
        # rows whose bound comes so close that they may be equal are computed too
        open_rows = np.flatnonzero(~is_new & (bounds > -np.inf) & (bounds >= best * (1 - _SAME)))
        if not len(open_rows):
            equal = np.flatnonzero(is_new & (bounds >= best * (1 - _SAME)))
            return int(equal[0]), float(bounds[equal[0]])
        if np.isinf(bounds[open_rows]).any():
            block = open_rows[:512]
        else:
            block = open_rows[np.argsort(-bounds[open_rows], kind="stable")[:_AT_ONCE]]
        added = np.maximum(similarities[block] - covered, 0)
        bounds[block] = np.asarray(added @ weights, np.float64)
        is_new[block] = True
