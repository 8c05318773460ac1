"""Groups of similar examples, such as several images of one object, and how to notice that there are any.

Leave-one-out assumes that a new image differs from the examples as much as these differ from each other. It is too
optimistic where the dataset has several images of one object and new images show new objects (leakage). This module
numbers the groups; `fit.fit_by_groups` holds them out together, as scikit-learn's `GroupKFold` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.metrics import mann_whitney_z
from lmm_classifier.core.progress import Progress, ProgressCallback
from lmm_classifier.neighbors.average_link import GroupTree, average_link
from lmm_classifier.neighbors.gallery import Gallery

SHIFT_ALARM = 3.0  # standard errors from which leave-one-out is too optimistic for the new images
_SAMPLE = 2000  # examples that are compared
_PAIRS = 100_000_000  # similarities within labels that are held, at most: 400 MB
_CUTS = 41  # similarities tried for the clusters
_LARGEST_PART = 2000  # examples of a label that are clustered together: the time grows with their square
_POWER_STEPS = 10  # towards the direction in which a label varies most, which need not be exact
_TINY = 1e-12


def group_ids(paths: Sequence[str], pattern: str, named: Mapping[str, str] | None = None) -> IntArray:
    """Number the groups of example paths, (N,).

    Args:
        paths: ids of the examples.
        pattern: `folder`, or a regular expression. Its first bracket names the group, or the whole match where it has
            none. A path without a match is a group of its own.
        named: the group of each path, where the dataset names groups; the pattern does not count then. A path without
            one is a group of its own.

    Raises:
        CalibrationError: if the expression is not valid.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise CalibrationError(
            f"The groups {pattern!r} are not valid: {error}. Expected 'folder', 'column' or a regular expression on "
            "the path."
        ) from None
    numbers: dict[str, int] = {}

    def name(path: str) -> str:
        if named is not None:
            return f"named:{named[path]}" if named.get(path) else f"alone:{path}"
        folder, _, _ = path.rpartition("/")
        if pattern == "folder":
            return folder
        match = expression.search(path)
        if match is None:
            return f"alone:{path}"
        return f"{path.split('/', maxsplit=1)[0]}:{match.group(1) if expression.groups else match.group(0)}"

    return np.array([numbers.setdefault(name(path), len(numbers)) for path in paths], np.int64)


def number_groups(names: Sequence[str]) -> IntArray:
    """Number the groups of examples by their names, (N,); an example without a name is a group of its own."""
    numbers: dict[str | int, int] = {}
    return np.array([numbers.setdefault(name or row, len(numbers)) for row, name in enumerate(names)], np.int64)


def shift_z_score(gallery: Gallery, groups: IntArray, new: Float32Array) -> float:
    """Return how much more similar examples are to each other than new images are to the examples.

    The unit is standard errors (Mann & Whitney, 1947). Above `SHIFT_ALARM` leave-one-out is too optimistic.

    Args:
        gallery: the examples.
        groups: their groups, (N,); an example is compared with those of other groups.
        new: normalized embeddings of new images, (n, d).
    """
    rows = _sample(len(groups))
    return mann_whitney_z(_nearest_outside(gallery, groups, rows), _nearest(gallery, new))


def match_query_distance(gallery: Gallery, new: Float32Array, progress: ProgressCallback | None = None) -> IntArray:
    """Number clusters (N,) so that examples are as similar to other clusters as new images are to the examples.

    Average linkage within each label. Of the similarities tried, that one is taken at which the similarities of
    examples to their nearest neighbor outside of their cluster are distributed most like those of the new images
    (n, d), by the mean distance of their quantiles (Wasserstein). A single value such as the median would be matched as
    well by a few clusters that hold much of a label, and those are too hard.
    `progress` is called after each part of the examples.
    """
    trees, count = list[tuple[IntArray, GroupTree]](), len(gallery.label_ids)
    for rows in _parts(gallery):
        trees.append((rows, average_link(gallery.embeddings[rows])))
        if progress is not None:
            progress(Progress("grouping similar examples", sum(len(part) for part, _ in trees), count))
    nearest, target = _NearestOutside.of(gallery), _nearest(gallery, new)
    joined = np.concatenate([tree.similarities for _, tree in trees])
    cuts = np.unique(np.quantile(joined, np.linspace(0, 1, _CUTS), method="lower")) if len(joined) else joined
    groups = np.arange(count)
    best, least = groups, _wasserstein(nearest.similarities(groups), target)
    for cut in cuts[::-1]:
        groups = groups.copy()
        for rows, tree in trees:
            groups[rows] = rows[tree.cut(cut)]
        distance = _wasserstein(nearest.similarities(groups), target)
        if distance < least:
            best, least = groups, distance
    return best


@dataclass(frozen=True)
class _NearestOutside:
    """Some examples with what decides how similar their nearest neighbor of another group is, whatever the groups."""

    rows: list[IntArray]  # of each label, some of its rows (r,)
    members: Sequence[IntArray]  # of each label, all its rows (m,)
    within: list[Float32Array]  # of each label, the similarities (r, m)
    elsewhere: list[Float64Array]  # of each label, the similarity of its rows to the nearest of other labels, (r,)

    @classmethod
    def of(cls, gallery: Gallery) -> _NearestOutside:
        sample = _sample(len(gallery.label_ids), _PAIRS // max(int(gallery.counts.max(initial=1)), 1))
        rows = [sample[gallery.label_ids[sample] == label] for label in range(gallery.labels)]
        within = [
            gallery.embeddings[some] @ gallery.embeddings[members].T
            for some, members in zip(rows, gallery.rows_of_label, strict=True)
        ]
        elsewhere = [_nearest_outside(gallery, gallery.label_ids, some) for some in rows]
        return cls(rows, gallery.rows_of_label, within, elsewhere)

    def similarities(self, groups: IntArray) -> Float64Array:
        """Return the similarity of each example to its nearest neighbor of another group, (n,); groups are (N,)."""
        nearest = [
            np.maximum(np.where(groups[rows][:, None] == groups[members], -1, within).max(axis=1), elsewhere)
            for rows, members, within, elsewhere in zip(
                self.rows, self.members, self.within, self.elsewhere, strict=True
            )
            if len(rows)
        ]
        return np.concatenate(nearest)


def _wasserstein(values: Float64Array, others: Float64Array) -> float:
    """Return the mean distance between equal quantiles of the distributions of values (n,) and of others (m,)."""
    places = np.sort(np.concatenate([values, others]))
    fractions = np.searchsorted(np.sort(values), places[:-1], side="right") / len(values)
    fractions -= np.searchsorted(np.sort(others), places[:-1], side="right") / len(others)
    return float((np.abs(fractions) * np.diff(places)).sum())


def _parts(gallery: Gallery) -> Iterator[IntArray]:
    """Yield the rows of each label; of a large one in parts, cut where it varies most, so that memory is bounded."""
    waiting = [rows for rows in gallery.rows_of_label if len(rows)]
    while waiting:
        rows = waiting.pop()
        if len(rows) <= _LARGEST_PART:
            yield rows
            continue
        centered = gallery.embeddings[rows] - gallery.embeddings[rows].mean(axis=0)
        axis = centered[int(np.square(centered).sum(axis=1).argmax())]
        for _ in range(_POWER_STEPS):
            axis = (centered @ axis) @ centered
            axis /= max(float(np.linalg.norm(axis)), _TINY)
        order = np.argsort(centered @ axis, kind="stable")
        waiting += [np.sort(rows[half]) for half in np.array_split(order, 2)]


def _nearest(gallery: Gallery, new: Float32Array) -> Float64Array:
    """Return the similarity of each new image (n, d) to its nearest example, (n,)."""
    blocks = [new[start : start + 512] @ gallery.embeddings.T for start in range(0, len(new), 512)]
    return np.concatenate([block.max(axis=1) for block in blocks]).astype(np.float64)


def _nearest_outside(gallery: Gallery, groups: IntArray, rows: IntArray) -> Float64Array:
    """Return the similarity of the examples `rows` (n,) to their nearest neighbor of another group, (n,)."""
    nearest = []
    for start in range(0, len(rows), 512):
        part = rows[start : start + 512]
        similarities = gallery.embeddings[part] @ gallery.embeddings.T
        similarities[groups[part][:, None] == groups] = -1
        nearest.append(similarities.max(axis=1))
    return np.concatenate(nearest).astype(np.float64)


def _sample(count: int, most: int = _SAMPLE) -> IntArray:
    most = max(min(most, _SAMPLE), 1)
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))
