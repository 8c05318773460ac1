"""Groups of similar examples, such as several images of one object, and how to notice that there are any.

Leave-one-out assumes that a new image differs from the examples as much as these differ from each other. It is too
optimistic where the dataset has several images of one object and new images show new objects (leakage). This module
numbers the groups; `fit.fit_by_groups` holds them out together, as scikit-learn's `GroupKFold` does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.metrics import mann_whitney_z
from lmm_classifier.core.numerics import connected_components
from lmm_classifier.neighbors.gallery import Gallery

SHIFT_ALARM = 3.0  # standard errors from which leave-one-out is too optimistic for the new images
_SAMPLE = 2000  # examples that are compared
_CUTS = 40  # similarities tried for the clusters


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


def match_query_distance(gallery: Gallery, new: Float32Array) -> IntArray:
    """Number clusters (N,) so that examples are no more similar to other clusters than new images to the examples.

    Single linkage within each label. Of the similarities tried, the highest is taken at which the median example, its
    cluster held out, is as far from its nearest neighbor as the median new image (n, d).
    """
    rows, target = _sample(len(gallery.label_ids)), float(np.median(_nearest(gallery, new)))
    links = _links(gallery)
    strengths = np.array([strength for _, _, strength in links])
    groups = np.arange(len(gallery.label_ids))
    for cut in np.unique(np.quantile(strengths, np.linspace(0, 1, _CUTS)))[::-1] if len(strengths) else ():
        groups = connected_components(len(groups), [(a, b) for a, b, strength in links if strength >= cut])
        if np.median(_nearest_outside(gallery, groups, rows)) <= target:
            break
    return groups


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


def _links(gallery: Gallery) -> list[tuple[int, int, float]]:
    """Return the maximum spanning tree of each label (Prim, 1957): cutting it is single linkage."""
    links = []
    for rows in gallery.rows_of_label:
        embeddings = gallery.embeddings[rows]
        best, partner = np.full(len(rows), -np.inf), np.zeros(len(rows), np.int64)
        outside = np.ones(len(rows), bool)
        newest = 0
        for _ in range(len(rows) - 1):
            outside[newest] = False
            similarities = embeddings @ embeddings[newest]
            improved = similarities > best
            best[improved], partner[improved] = similarities[improved], newest
            newest = int(np.where(outside, best, -np.inf).argmax())
            links.append((int(rows[newest]), int(rows[partner[newest]]), float(best[newest])))
    return links


def _sample(count: int) -> IntArray:
    if count <= _SAMPLE:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, _SAMPLE, replace=False))
