"""What the proposals and the order are compared with: other clusterings, and other orders of labeling."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray

_SMALLEST = 5  # images of a cluster, and neighbors of which the density is the mean
_NEIGHBORS = 20  # of TypiClust


def hdbscan(rows: Float32Array) -> IntArray:
    """Return the cluster of unit rows (n, d), -1 for noise (Campello, Moulavi & Sander, 2013)."""
    from sklearn.cluster import HDBSCAN

    if len(rows) < _SMALLEST:
        return np.full(len(rows), -1)
    return np.asarray(HDBSCAN(min_cluster_size=_SMALLEST, copy=True).fit_predict(rows), np.int64)


def k_means(rows: Float32Array, count: int, seed: int, starts: int = 10) -> IntArray:
    """Return the cluster of unit rows (n, d) by k-means, the best of some starts."""
    from sklearn.cluster import KMeans

    if len(rows) <= count:
        return np.arange(len(rows))
    return np.asarray(KMeans(count, n_init=starts, random_state=seed).fit_predict(rows), np.int64)


def finch(rows: Float32Array) -> IntArray:
    """Return the cluster of unit rows (n, d) in the last partition that has more than one.

    FINCH joins each row with its nearest other one, then each mean with its nearest other one (Sarfraz, Sharma &
    Stiefelhagen, CVPR 2019, "Efficient parameter-free clustering using first neighbor relations").
    """
    found = np.arange(len(rows))
    means = rows
    while len(means) > 2:
        joined = _first_neighbors(means)
        count = int(joined.max()) + 1
        if count < 2 or count == len(means):
            break
        found = joined[found]
        sums = np.zeros((count, rows.shape[1]))
        np.add.at(sums, found, rows)
        means = (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)
    return found


def _first_neighbors(means: Float32Array) -> IntArray:
    similarities = means @ means.T
    np.fill_diagonal(similarities, -np.inf)
    count = len(means)
    nearest = similarities.argmax(axis=1)
    # rows with the same nearest one are joined through it
    graph = coo_array((np.ones(count), (np.arange(count), nearest)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def typical_first(rows: Float32Array, labeled: Float32Array, count: int, seed: int) -> IntArray:
    """Return `count` of the unit rows (n, d) in the order of TypiClust (Hacohen, Dekel & Weinshall, ICML 2022).

    Rows and labeled rows form as many clusters as there will be labels. Of the largest clusters without a label, the
    most typical row comes first: the one whose 20 nearest in its cluster are nearest.
    """
    clusters = k_means(np.concatenate([labeled, rows]), len(labeled) + count, seed, starts=1)
    has_label, own = np.unique(clusters[: len(labeled)]), clusters[len(labeled) :]
    numbers, sizes = np.unique(own, return_counts=True)
    is_covered = np.isin(numbers, has_label)
    picks = list[int]()
    for place in np.lexsort([-sizes, is_covered]).tolist()[:count]:
        members = np.flatnonzero(own == numbers[place])
        similarities = np.sort(rows[members] @ rows[members].T, axis=1)[:, ::-1]
        typicality = similarities[:, 1 : _NEIGHBORS + 1].mean(axis=1) if len(members) > 1 else np.zeros(1)
        picks.append(int(members[typicality.argmax()]))
    rest = np.setdiff1d(np.arange(len(rows)), picks)
    return np.array([*picks, *rest.tolist()], np.int64)[:count]


def clicks_saved(groups: IntArray, labels: IntArray, is_new: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    """Return the fraction of the answers that naming groups saves, compared with one answer for each new image.

    An answer is needed for each group, for each member of another label than most of its group, and for each new image
    in no group.

    Args:
        groups: (n,) -1 for images in no group.
        labels: (n,) the true ones.
        is_new: (n,) whether that label is no known one.
    """
    answers = int((is_new & (groups < 0)).sum())
    for number in np.unique(groups[groups >= 0]):
        members = labels[groups == number]
        answers += 1 + len(members) - int(np.bincount(members).max())
    return 1 - answers / max(int(is_new.sum()), 1)


def purity(groups: IntArray, labels: IntArray) -> float:
    """Return the fraction of the members of groups whose label is that of most of their group; NaN without groups."""
    numbers = np.unique(groups[groups >= 0])
    right = sum(int(np.bincount(labels[groups == number]).max()) for number in numbers)
    return right / int((groups >= 0).sum()) if len(numbers) else float("nan")


def new_right(groups: IntArray, labels: IntArray, is_new: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    """Return the fraction of the new images in the group of their label, where each label has one group (Hungarian)."""
    from scipy.optimize import linear_sum_assignment

    numbers, names = np.unique(groups[groups >= 0]), np.unique(labels[is_new])
    table = np.array([[((groups == number) & (labels == name)).sum() for name in names] for number in numbers])
    if not len(numbers):
        return 0.0
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].sum() / is_new.sum())


def mean_and_error(values: Float64Array) -> tuple[float, float]:
    """Return the mean of the finite values (n,), and its standard error."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()), float(finite.std(ddof=1) / len(finite) ** 0.5) if len(finite) > 1 else float("nan")
