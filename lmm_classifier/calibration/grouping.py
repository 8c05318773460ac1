"""Several shots of one object: which examples belong together, and how to notice that they do.

Leave-one-out supposes that a new picture is as strange to the corpus as an example is to the others. Where the corpus
holds several shots of one object and new pictures show new objects, it is far too rosy.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.metrics import mann_whitney_z
from lmm_classifier.core.protocols import FloatArray, IntArray
from lmm_classifier.neighbors.gallery import Gallery

Doubles = NDArray[np.float64]

ALARM = 3.0  # standard errors by which examples may be nearer to each other than new pictures are to them
_SAMPLE = 2000  # examples that are compared
_CUTS = 40  # similarities tried for the clusters


def groups_by(paths: Sequence[str], rule: str) -> IntArray:
    """Number the groups (N,) of example paths: `folder`, or a regular expression.

    What its first bracket matches names the group, or the whole match where it has none; a path that it does not match
    is a group of its own. Raises CalibrationError for a broken expression.
    """
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise CalibrationError(f"--group-by {rule!r} is neither 'folder' nor a regular expression: {error}") from None
    numbers: dict[str, int] = {}

    def name(path: str) -> str:
        folder, _, _ = path.rpartition("/")
        if rule == "folder":
            return folder
        found = pattern.search(path)
        if found is None:
            return f"alone:{path}"
        return f"{path.split('/', maxsplit=1)[0]}:{found.group(1) if pattern.groups else found.group(0)}"

    return np.array([numbers.setdefault(name(path), len(numbers)) for path in paths], np.int64)


def rosiness(gallery: Gallery, groups: IntArray, new: FloatArray) -> float:
    """How much nearer examples are to others (of other `groups` (N,)) than new unit rows (n, d) are to examples.

    In standard errors (Mann & Whitney, 1947): above `ALARM` leave-one-out cannot be trusted for pictures like the new.
    """
    rows = _sample(len(groups))
    return mann_whitney_z(_nearest_outside(gallery, groups, rows), _nearest(gallery, new))


def clusters_like(gallery: Gallery, new: FloatArray) -> IntArray:
    """Number clusters (N,) such that examples are no nearer to other clusters than new unit rows (n, d) to examples.

    Single linkage within each label; of the similarities tried the highest is taken at which the median example, its
    cluster left out, is as far from its nearest as the median new picture.
    """
    rows, target = _sample(len(gallery.label_ids)), float(np.median(_nearest(gallery, new)))
    links = _links(gallery)
    strengths = np.array([strength for _, _, strength in links])
    groups = np.arange(len(gallery.label_ids))
    for cut in np.unique(np.quantile(strengths, np.linspace(0, 1, _CUTS)))[::-1] if len(strengths) else ():
        groups = _joined(len(groups), [(one, other) for one, other, strength in links if strength >= cut])
        if np.median(_nearest_outside(gallery, groups, rows)) <= target:
            break
    return groups


def _nearest(gallery: Gallery, new: FloatArray) -> Doubles:
    blocks = [new[start : start + 512] @ gallery.units.T for start in range(0, len(new), 512)]
    return np.concatenate([block.max(axis=1) for block in blocks]).astype(np.float64)


def _nearest_outside(gallery: Gallery, groups: IntArray, rows: IntArray) -> Doubles:
    found = []
    for start in range(0, len(rows), 512):
        part = rows[start : start + 512]
        near = gallery.units[part] @ gallery.units.T
        near[groups[part][:, None] == groups] = -1
        found.append(near.max(axis=1))
    return np.concatenate(found).astype(np.float64)


def _links(gallery: Gallery) -> list[tuple[int, int, float]]:
    """The maximum spanning tree of each label (Prim, 1957): cutting it is single linkage."""
    links = []
    for rows in gallery.rows_of_label:
        units = gallery.units[rows]
        best, partner = np.full(len(rows), -np.inf), np.zeros(len(rows), np.int64)
        outside = np.ones(len(rows), bool)
        here = 0
        for _ in range(len(rows) - 1):
            outside[here] = False
            near = units @ units[here]
            nearer = near > best
            best[nearer], partner[nearer] = near[nearer], here
            here = int(np.where(outside, best, -np.inf).argmax())
            links.append((int(rows[here]), int(rows[partner[here]]), float(best[here])))
    return links


def _joined(count: int, pairs: Sequence[tuple[int, int]]) -> IntArray:
    neighbours: dict[int, list[int]] = defaultdict(list)
    for one, other in pairs:
        neighbours[one].append(other)
        neighbours[other].append(one)
    groups = np.full(count, -1, np.int64)
    for start in range(count):
        waiting = [start] if groups[start] < 0 else []
        while waiting:
            row = waiting.pop()
            if groups[row] < 0:
                groups[row] = start
                waiting += neighbours[row]
    return groups


def _sample(count: int) -> IntArray:
    if count <= _SAMPLE:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, _SAMPLE, replace=False))
