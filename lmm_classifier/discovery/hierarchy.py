"""Proposes coarse labels: labels whose examples are similar on average come together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.label_hierarchy import LabelHierarchy
from lmm_classifier.core.linalg import single_threaded_blas
from lmm_classifier.discovery.space import DiscoverySpace
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.average_link import average_link
from lmm_classifier.neighbors.gallery import directions

_SHRINKAGE = 0.3  # known labels are compared, so the metric may fit them better than that for new labels
_LISTED = 3  # labels in the name of a coarse one
_MOST = 10_000  # labels: the time grows with the square of their number


def propose_hierarchy(indexes: Sequence[Index], groups: Sequence[int]) -> LabelHierarchy:
    """Propose coarse labels above the labels of an index, from the means of their examples.

    The means are compared in the within-class metric, and joined by average link. A coarse label has the names of its
    first labels; give it a better one. A label that nothing joins stands one level higher.

    Args:
        indexes: the examples, with the vectors of each encoder; the similarities of several are averaged.
        groups: for each level of coarse labels how many parts it has, labels that stand alone included. The
            hierarchy does not depend on the order.

    Raises:
        CalibrationError: there are fewer than three labels, or a number of parts is not between them.

    Example:
        >>> from lmm_classifier import Index, propose_hierarchy
        >>> hierarchy = propose_hierarchy(Index.open_each("index"), groups=[2])
        >>> hierarchy.height, len(hierarchy.above)
        (1, 4)
    """
    names = indexes[0].label_names
    _check(len(names), groups)
    means = [class_means(index.gallery.embeddings, index.label_ids, len(names)) for index in indexes]
    joined = np.concatenate(means, axis=1) / np.sqrt(len(means))  # its products are the means of the cosines
    tree = average_link(joined.astype(np.float32))
    cuts = [tree.cut_into(count) for count in sorted(set(groups))]
    above: dict[str, tuple[str, ...]] = {}
    for label, name in enumerate(names):
        parts = [np.flatnonzero(cut == cut[label]) for cut in cuts]  # the coarsest first
        # a level that divides nothing of the one above would name the same labels again
        kept = [part for place, part in enumerate(parts) if len(part) > 1 and len(part) not in map(len, parts[:place])]
        above[name] = tuple(_name([names[row] for row in part.tolist()]) for part in kept)
    return LabelHierarchy(above)


@single_threaded_blas
def class_means(embeddings: Float32Array, label_ids: IntArray, labels: int) -> Float32Array:
    """Return the mean of each label in the within-class metric, normalized, (C, d).

    Args:
        embeddings: normalized rows (N, d).
        label_ids: (N,) numbers below `labels`; each label has an example.
        labels: C.
    """
    space = DiscoverySpace.of_examples(embeddings, label_ids, labels, _SHRINKAGE)
    sums = np.zeros((labels, embeddings.shape[1]), np.float64)
    np.add.at(sums, label_ids, space.map(embeddings))
    return directions(sums.astype(np.float32))[0]


def _name(labels: list[str]) -> str:
    more = f", {len(labels) - _LISTED} more" if len(labels) > _LISTED else ""
    return f"like {', '.join(labels[:_LISTED])}{more}"


def _check(labels: int, groups: Sequence[int]) -> None:
    if not 3 <= labels <= _MOST:
        raise CalibrationError(f"A hierarchy is proposed for 3 to {_MOST:,} labels, but the index has {labels}.")
    if not groups or not all(2 <= count < labels for count in groups):
        shown = ", ".join(map(str, groups)) or "none"
        raise CalibrationError(f"Expected numbers of coarse labels from 2 to {labels - 1}, got {shown}.")
