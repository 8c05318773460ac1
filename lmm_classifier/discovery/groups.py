"""Groups of similar unlabeled images, at a similarity that is learned from the labels that are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.linalg import single_threaded_blas
from lmm_classifier.discovery.fused_space import FusedSpace
from lmm_classifier.neighbors.average_link import average_link

MOST = 2000  # images that form groups; others join them
DEFAULT_CUT = 0.2  # mean cosine within a group, where too few labels are known to learn it
_CUTS = np.linspace(0.02, 0.8, 40)
_ROUNDS = 2
_FEWEST, _MOST_OF_A_LABEL, _MOST_LABELS = 3, 40, 60  # examples of a label, and labels, that take part in learning


@single_threaded_blas
def find_groups(embeddings: Float32Array, ids: Sequence[str], least: float = DEFAULT_CUT, most: int = MOST) -> IntArray:
    """Return the group of each of n images, (n,), numbered by size, largest first; equal sizes by the least id.

    Two groups are one where the mean cosine between their members is at least `least`. Of more than `most` images,
    groups are made of those with the least ids; each other joins the group that is most similar on average, where that
    reaches `least`, or is alone.

    Args:
        embeddings: unit vectors (n, d) in the space of discovery.
        ids: n different texts; the result does not depend on the order of the images.
        least: mean cosine, -1 to 1.
        most: images that form groups.
    """
    in_order = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
    formed = in_order[:most]
    groups = np.full(len(ids), -1, np.int64)
    groups[formed] = average_link(embeddings[formed]).cut(least)
    if len(in_order) > most:
        _join(groups, embeddings, formed, in_order[most:], least)
    return _by_size(groups, in_order)


def _join(groups: IntArray, embeddings: Float32Array, formed: IntArray, rest: IntArray, least: float) -> None:
    names, members = np.unique(groups[formed], return_inverse=True)
    sums = np.zeros((len(names), embeddings.shape[1]), np.float32)
    np.add.at(sums, members, embeddings[formed])
    means = sums / np.bincount(members)[:, None].astype(np.float32)
    for start in range(0, len(rest), MOST):
        part = rest[start : start + MOST]
        similarities = embeddings[part] @ means.T
        best = similarities.argmax(axis=1)
        joins = similarities[np.arange(len(part)), best] >= least
        alone = len(groups) + start + np.arange(len(part))
        groups[part] = np.where(joins, names[best], alone)


def _by_size(groups: IntArray, in_order: IntArray) -> IntArray:
    """Number groups by their size, largest first, then by their first member in the order of the ids."""
    _, first, members, sizes = np.unique(groups[in_order], return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(sizes), np.int64)
    rank[np.lexsort([first, -sizes])] = np.arange(len(sizes))
    numbered = np.empty(len(groups), np.int64)
    numbered[in_order] = rank[members]
    return numbered


def learned_cut(
    embeddings: Sequence[Float32Array], label_ids: IntArray, labels: int, weights: Sequence[float] | None = None
) -> float:
    """Return the mean cosine at which groups agree best with labels that the space was not fitted to.

    A part of the labels is held out and plays unknown ones: the space is fitted to the others, and the held-out
    images are grouped at 40 similarities. The best one by the adjusted Rand index (Hubert & Arabie, 1985, "Comparing
    partitions", Journal of Classification 2), summed over two rounds of two or three parts, is returned;
    `DEFAULT_CUT` where fewer than four labels have three examples.

    Args:
        embeddings: normalized rows (N, d) of the examples, of each encoder.
        label_ids: (N,) numbers below `labels`.
        labels: C.
        weights: of the encoders, 0 or more; by default they count alike.
    """
    counts = np.bincount(label_ids, minlength=labels)
    usable = np.flatnonzero(counts >= _FEWEST)
    if len(usable) < 4:
        return DEFAULT_CUT
    agreement = np.zeros(len(_CUTS))
    for number in range(_ROUNDS):
        rng = np.random.default_rng(number)
        names = rng.permutation(usable)[:_MOST_LABELS]
        parts = 2 if len(names) < 6 else 3
        for part in range(parts):
            agreement += _agreement(embeddings, label_ids, names[part::parts], weights, rng)
    return float(_CUTS[agreement.argmax()])


def _agreement(
    embeddings: Sequence[Float32Array],
    label_ids: IntArray,
    held_out: IntArray,
    weights: Sequence[float] | None,
    rng: np.random.Generator,
) -> Float64Array:
    """Return the adjusted Rand index of groups with the held-out labels, for each of the cuts."""
    others = ~np.isin(label_ids, held_out)
    names, known = np.unique(label_ids[others], return_inverse=True)
    fitted = [rows[others] for rows in embeddings]
    space = FusedSpace.of_examples(fitted, known.astype(np.int64), len(names), weights)
    rows = np.concatenate(
        [rng.permutation(np.flatnonzero(label_ids == label))[:_MOST_OF_A_LABEL] for label in held_out]
    )
    tree = average_link(space.map([each[rows] for each in embeddings]))
    return np.array([adjusted_rand_index(tree.cut(cut), label_ids[rows]) for cut in _CUTS])


def adjusted_rand_index(first: IntArray, second: IntArray) -> float:
    """Return how well two partitions of n rows agree: 1 for equal ones, 0 on average for random ones."""
    columns, rows = (np.unique(partition, return_inverse=True)[1] for partition in (first, second))
    table = np.bincount(rows * (columns.max(initial=0) + 1) + columns)
    together, of_first, of_second = (
        float((counts * (counts - 1.0)).sum() / 2) for counts in (table, np.bincount(columns), np.bincount(rows))
    )
    pairs = len(first) * (len(first) - 1.0) / 2
    expected = of_first * of_second / pairs if pairs else 0.0
    most = (of_first + of_second) / 2
    return 1.0 if most == expected else (together - expected) / (most - expected)
