"""The group test: groups whose images are less familiar on average than any known label would be.

An image of a known label may be unfamiliar by itself, but a whole group of them is hardly so. The familiarity of the
examples has a spread between labels and one within labels (one-way random effects; Searle, Casella & McCulloch, 1992,
"Variance components"). So the mean of n images of a known label has the variance between + within / n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
from lmm_classifier.core.linalg import single_threaded_blas
from lmm_classifier.discovery.cover import shuffled
from lmm_classifier.discovery.groups import find_groups
from lmm_classifier.discovery.proposals.propose import FEWEST
from lmm_classifier.neighbors.gallery import directions

_QUANTILE = 1.645  # of the normal distribution, for 5% of the groups of known labels
_ALONE = 0.05  # quantile of the familiarity of examples below which a single image is new
_TIGHTER = 1.5  # times the cut: groups that are tested hold one label each


@dataclass(frozen=True)
class UsualFamiliarity:
    """How familiar the examples of an index are: their mean, and two standard deviations."""

    mean: float
    between: float  # of the means of labels
    within: float  # of the examples of a label
    least: float  # quantile of single examples

    @classmethod
    def of(cls, familiarity: Float64Array, label_ids: IntArray) -> UsualFamiliarity:
        """Estimate it from the familiarity (N,) of held-out examples, N at least 1, and the numbers of their labels."""
        _, members, sizes = np.unique(label_ids, return_inverse=True, return_counts=True)
        means = np.bincount(members, familiarity) / sizes
        residuals = familiarity - means[members]
        total, labels = len(familiarity), len(sizes)
        within = float((residuals**2).sum() / max(total - labels, 1))
        mean, between = float(familiarity.mean()), 0.0
        if labels > 1:
            size = (total - (sizes**2).sum() / total) / (labels - 1)
            spread = float((sizes * (means - mean) ** 2).sum() / (labels - 1))
            between = max((spread - within) / size, 0.0)
        return cls(mean, between**0.5, within**0.5, float(np.quantile(familiarity, _ALONE)))

    def is_new(self, familiarity: Float64Array, groups: IntArray) -> BoolArray:
        """Return which of n images belong to a group that is less familiar than known labels are, (n,)."""
        sizes = np.bincount(groups)
        means = np.bincount(groups, familiarity) / np.maximum(sizes, 1)
        limits = self.mean - _QUANTILE * np.sqrt(self.between**2 + self.within**2 / np.maximum(sizes, 1))
        limits[sizes == 1] = self.least
        return np.asarray((means < limits)[groups])


@single_threaded_blas
def unfamiliar_groups(
    embeddings: Float32Array,
    familiarity: Float64Array,
    names: Sequence[str],
    label_sums: Float64Array,
    cut: float,
    usual: UsualFamiliarity,
) -> list[IntArray]:
    """Return the images of each group that passes the test, the largest group first; ascending in each.

    They hold fewer images than the groups of `propose`.

    Args:
        embeddings: (n, d) unit vectors in the space of discovery.
        familiarity: (n,) higher is more familiar.
        names: n different texts; the groups do not depend on the order of the images.
        label_sums: (C, d) of the unit vectors of the examples of each known label.
        cut: mean cosine within a label.
        usual: how familiar the examples are.
    """
    if not len(names):
        return []
    new = np.flatnonzero(usual.is_new(familiarity, find_groups(embeddings, shuffled(names), _TIGHTER * cut)))
    if not len(new):
        return []
    groups = find_groups(embeddings[new], shuffled([names[row] for row in new.tolist()]), cut)
    count = int(groups.max()) + 1
    sums = np.zeros((count, embeddings.shape[1]))
    np.add.at(sums, groups, embeddings[new])
    centers = directions(sums.astype(np.float32))[0]
    known = directions(label_sums.astype(np.float32))[0]
    own = (embeddings[new] * centers[groups]).sum(axis=1)
    nearest = (embeddings[new] @ known.T).max(axis=1, initial=-np.inf)
    groups[nearest > own] = -1
    members = [new[groups == number] for number in range(count)]
    first = {rows[0]: min(names[row] for row in rows.tolist()) for rows in members if len(rows)}
    kept = [rows for rows in members if len(rows) >= FEWEST]
    return sorted(kept, key=lambda rows: (-len(rows), first[rows[0]]))
